import logging
import math

import pytest
import torch
from device_waits import Waits, count_transfers
from engine_kit import DOSE, TASKS, SmallNetwork, affine_ras, make_evaluator, make_item
from monai.data import DataLoader, MetaTensor

from ctan_monai.engines import MultiTaskMetrics, PrepareMultiTaskBatch
from ctan_monai.errors import ConfigError
from ctan_monai.metrics import GivenFinding, OpenKBPScores, StructureDose, SyntheticCTErrors, device_dvh
from ctan_monai.metrics.base import CaseMetric
from ctan_monai.metrics.segmentation import SegmentationJaccard
from ctan_monai.networks.base import MultiTaskNetwork
from ctan_monai.tasks import Classification, Regression, Segmentation

LESION = Segmentation("lesion", ["lesion"], overlapping=True)
HEAT = Regression("heat", "K", 10.0)


class Copy(MultiTaskNetwork):
    """Predicts what the image says: a lesion where it is positive, and the image itself times the task's scale."""

    def __init__(self, tasks):
        super().__init__(tuple(tasks), 2)

    def forward(self, image):
        return {task.name: image - 0.5 if task is LESION else image for task in self.tasks}


class Seen(CaseMetric):
    """Keeps what it was given."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def measure(self, case, prediction, target, spacing_mm):
        self.seen.append((case, prediction, target, spacing_mm))
        return {"seen": 1.0}

    def compute(self):
        return {"seen": math.nan}


def lesion_item(case, predicted, true, present=True):
    """Make a case of 1 x 4 x slices voxels from strings of 0 and 1, one for each slice."""
    image, label = (
        torch.tensor([[float(voxel) for voxel in part] for part in parts]).T[None, None] for parts in (predicted, true)
    )  # (1, 1, 4, slices) each
    return {"case": case, "image": MetaTensor(image), "lesion": label, "lesion_present": torch.tensor([present])}


def evaluate(network, items, handler, batch_size=1):
    evaluator = make_evaluator(network, DataLoader(items, batch_size=batch_size), handler)
    evaluator.run()
    return evaluator.state


def test_dice_is_that_of_the_whole_volume_not_the_mean_over_slices():
    # slices: Dice 2*1/(1+3) = 0.5 and 1; volume: 2*(1+4)/(5+7) = 0.8333
    items = [lesion_item("a", ["1000", "1111"], ["1110", "1111"])]
    state = evaluate(Copy([LESION]), items, MultiTaskMetrics([LESION]))
    assert state.metrics["lesion_dice"] == pytest.approx(10 / 12)
    assert state.metrics["selection"] == state.metrics["selection_lesion"] == pytest.approx(10 / 12)


@pytest.mark.parametrize("batch_size", [1, 2, 3])
def test_cases_are_measured_one_by_one_whatever_the_batch(batch_size):
    items = [
        lesion_item("a", ["1100"], ["1100"]),
        lesion_item("b", ["1100"], ["0011"]),
        lesion_item("c", ["1111"], ["1100"], present=False),
    ]
    state = evaluate(Copy([LESION]), items, MultiTaskMetrics([LESION]), batch_size)
    assert state.metrics["lesion_dice"] == 0.5
    rows = {row["case"]: row["lesion_dice"] for row in state.metric_details["cases"]}
    assert (rows["a"], rows["b"]) == (1.0, 0.0)
    assert math.isnan(rows["c"])


def test_a_case_that_comes_twice_counts_once():
    items = [lesion_item("a", ["1100"], ["1100"]), lesion_item("b", ["1100"], ["0011"])]
    state = evaluate(Copy([LESION]), [*items, items[1], items[1]], MultiTaskMetrics([LESION]))
    assert state.metrics["lesion_dice"] == 0.5


def test_a_second_validation_forgets_the_first():
    handler = MultiTaskMetrics([LESION])
    evaluate(Copy([LESION]), [lesion_item("a", ["1100"], ["0011"])], handler)
    state = evaluate(Copy([LESION]), [lesion_item("b", ["1100"], ["1100"])], handler)
    assert state.metrics["lesion_dice"] == 1.0
    assert [row["case"] for row in handler.rows()] == ["b"]


def with_heat(item, kelvin, present):
    return {**item, "heat": torch.full_like(item["lesion"], kelvin), "heat_present": torch.tensor(present)}


def test_selection_is_the_mean_over_the_tasks_that_have_one():
    both = [with_heat(lesion_item("a", ["1100"], ["1000"]), 10.0, True)]
    state = evaluate(Copy([LESION, HEAT]), both, MultiTaskMetrics([LESION, HEAT]))
    # prediction 10, 10, 0, 0 K, truth 10 K everywhere: mean absolute error 5 K, that of the answer 0 is 10 K
    assert state.metrics["selection_heat"] == pytest.approx(0.5)
    assert state.metrics["selection_lesion"] == pytest.approx(2 / 3)
    assert state.metrics["selection"] == pytest.approx((0.5 + 2 / 3) / 2)


def test_a_task_without_labels_is_left_out_of_the_selection():
    items = [with_heat(lesion_item("a", ["1100"], ["1000"]), 0.0, False)]
    state = evaluate(Copy([LESION, HEAT]), items, MultiTaskMetrics([LESION, HEAT]))
    assert math.isnan(state.metrics["selection_heat"])
    assert state.metrics["selection"] == pytest.approx(2 / 3)


def test_without_any_label_the_selection_is_unknown():
    state = evaluate(Copy([LESION]), [lesion_item("a", ["1"], ["1"], present=False)], MultiTaskMetrics([LESION]))
    assert math.isnan(state.metrics["selection"])


def test_metrics_get_final_answers_targets_and_voxel_size_of_one_case():
    items = [make_item(0, (8, 6, 5)), make_item(1, (8, 6, 5))]
    items[1]["image"].affine = affine_ras(1.0, 4.0, 5.0)
    seen = Seen()
    state = evaluate(SmallNetwork(), items, MultiTaskMetrics(TASKS, [seen]), batch_size=2)
    (case_a, prediction, target, spacing_a), (case_b, _, _, spacing_b) = seen.seen
    assert (case_a, spacing_a, case_b, spacing_b) == ("pt_0", (2.0, 2.0, 3.0), "pt_1", (1.0, 4.0, 5.0))
    assert (prediction["oar"].dtype, tuple(prediction["oar"].shape)) == (torch.bool, (2, 8, 6, 5))
    logits = state.output["pred"]["dose"].as_tensor()[0]
    torch.testing.assert_close(prediction["dose"], logits * DOSE.scale)
    assert prediction["grade"].sum().item() == pytest.approx(1.0)
    assert tuple(target["oar"].shape) == (2, 8, 6, 5)
    assert target["grade"].ndim == 0
    assert target["oar_present"].tolist() == [True, True]


def test_metrics_of_further_metrics_stand_beside_those_of_the_tasks_and_do_not_select():
    state = evaluate(SmallNetwork(), [make_item(0)], MultiTaskMetrics(TASKS, [Seen()]))
    assert {"seen", "oar_dice"} <= set(state.metrics)
    assert state.metric_details["cases"][0]["seen"] == 1.0
    assert not math.isnan(state.metrics["selection"])


def test_an_image_without_affine_is_measured_in_voxels_of_1_mm_and_the_log_says_so_once(caplog):
    items = [{**make_item(index), "image": make_item(index)["image"].as_tensor()} for index in range(2)]
    seen = Seen()
    with caplog.at_level(logging.WARNING):
        evaluate(SmallNetwork(), items, MultiTaskMetrics(TASKS, [seen]))
    assert seen.seen[0][3] == (1.0, 1.0)
    assert sum("no affine" in record.message for record in caplog.records) == 1


@pytest.mark.parametrize("decollate", [True, False])
def test_batches_that_are_split_or_do_not_name_their_cases_are_errors(decollate):
    item = make_item(0)
    if not decollate:
        del item["case"]
    evaluator = make_evaluator(SmallNetwork(), DataLoader([item]), MultiTaskMetrics(TASKS), decollate=decollate)
    with pytest.raises(ConfigError, match="'case'"):
        evaluator.run()


def test_the_truth_is_selected_by_1():
    items = [with_heat(lesion_item("a", ["1111"], ["1111"]), 10.0, True)]
    assert evaluate(Copy([LESION, HEAT]), items, MultiTaskMetrics([LESION, HEAT])).metrics["selection"] == 1.0


def test_metrics_of_two_tasks_that_have_one_name_are_refused():
    one, other = Segmentation("a", ["dice", "b"], overlapping=True), Segmentation("a_dice", ["c"], overlapping=True)
    with pytest.raises(ConfigError, match=r"\['a_dice_dice'\] would be metrics of two tasks or labels"):
        MultiTaskMetrics([one, other])
    MultiTaskMetrics([one, LESION])


def every_kind():
    """Give tasks and metrics of all kinds, and an item of a volume."""
    oar = Segmentation("oar", ["Brainstem", "SpinalCord"], overlapping=True)
    dose, ct = Regression("dose", "Gy", 80.0), Regression("ct", "HU", 300.0, region="mask")
    severe, covid = (Classification(name, ["yes"]) for name in ("severe", "covid"))
    tasks = (
        oar,
        dose,
        ct,
        severe,
        covid,
        Regression("age", "a", 1.0, level="image"),
        Classification("kind", ["a", "b"]),
    )
    metrics = [
        OpenKBPScores(dose, oar),
        StructureDose(dose, oar),
        SyntheticCTErrors(ct, oar),
        GivenFinding(severe, covid),
        SegmentationJaccard(oar),
    ]

    def item(index):
        found = {key: value for key, value in make_item(index, (8, 6, 5)).items() if not key.startswith("grade")}
        image = found["image"] = found["image"].as_tensor()  # affines stay on the host
        found |= {"ct": 400 * image, "ct_region": image > 0.1, "dose_region": image > 0.2, "age": torch.tensor([3.0])}
        found |= {"severe": torch.tensor([index % 2]), "covid": torch.tensor([1]), "kind": torch.tensor(index % 2)}
        return found

    return tasks, metrics, item


def test_a_batch_is_measured_with_one_transfer(monkeypatch):
    monkeypatch.setattr(device_dvh, "_may_wait", lambda mask: False)
    tasks, metrics, item = every_kind()
    batches = list(DataLoader([item(index) for index in range(4)], batch_size=2))
    handler, waits = MultiTaskMetrics(tasks, metrics), Waits()
    count_transfers(monkeypatch, waits)
    evaluator = make_evaluator(SmallNetwork(tasks), batches, handler, prepare_batch=PrepareMultiTaskBatch(tasks))
    with waits:
        for batch in batches:
            handler.update(batch, evaluator._iteration(evaluator, batch))
    assert waits.found == ["tolist"] * 2
    assert len(handler.rows()) == 4
    assert not any(
        math.isnan(value) for row in handler.rows() for key, value in row.items() if key.startswith("ct_mae_b")
    )
