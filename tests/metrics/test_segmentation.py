"""Dice against cases that a person can count, MONAI's own metric, and the rule for what is unknown or absent."""

import math

import pytest
import torch
from monai.metrics import DiceMetric

from ctan_monai.errors import DataError
from ctan_monai.metrics.segmentation import SegmentationDice
from ctan_monai.tasks import Segmentation

TASK = Segmentation("oar", ["a", "b"], overlapping=True)
ONE_MM = (1.0, 1.0, 1.0)


def target(masks, present=(True, True)):
    return {"oar": masks.float(), "oar_present": torch.tensor(present)}


def volume(*rows):
    """Masks (L, 4, 1, 1), one row of four voxels per label."""
    return torch.tensor(rows)[:, :, None, None]


def dice_of(prediction, label, present=(True, True)):
    metric = SegmentationDice(TASK)
    metric.update("x", {"oar": prediction.bool()}, target(label, present), ONE_MM)
    return metric.rows()[0]


def test_dice_is_twice_the_overlap_over_the_sum_of_the_sizes():
    row = dice_of(volume([1, 1, 0, 0], [1, 1, 1, 0]), volume([0, 1, 1, 1], [1, 0, 0, 0]))
    assert row["oar_dice_a"] == pytest.approx(2 * 1 / (2 + 3))
    assert row["oar_dice_b"] == pytest.approx(2 * 1 / (3 + 1))
    assert row["oar_dice"] == pytest.approx((0.4 + 0.5) / 2)


def test_an_unknown_label_is_left_out_whatever_is_predicted():
    row = dice_of(volume([1, 1, 0, 0], [1, 1, 1, 1]), volume([1, 1, 0, 0], [0, 0, 0, 0]), present=(True, False))
    assert math.isnan(row["oar_dice_b"])
    assert row["oar_dice"] == row["oar_dice_a"] == 1.0


def test_a_label_that_is_known_to_be_absent_counts_1_if_nothing_is_predicted_and_0_otherwise():
    label = volume([0, 0, 0, 0], [0, 0, 0, 0])
    row = dice_of(volume([0, 0, 0, 0], [0, 0, 0, 1]), label)
    assert (row["oar_dice_a"], row["oar_dice_b"]) == (1.0, 0.0)


def test_each_patient_weighs_the_same_and_complete_cases_are_reported_beside():
    metric = SegmentationDice(TASK)
    full, none = volume([1, 1, 0, 0], [1, 1, 0, 0]), volume([0, 0, 1, 0], [0, 0, 1, 0])
    metric.update("both right", {"oar": full.bool()}, target(full), ONE_MM)
    metric.update("a known and wrong", {"oar": none.bool()}, target(full, (True, False)), ONE_MM)
    metric.update("nothing known", {"oar": none.bool()}, target(full, (False, False)), ONE_MM)
    metrics = metric.compute()
    assert metrics == {"oar_dice": 0.5, "oar_dice_complete": 1.0, "oar_dice_a": 0.5, "oar_dice_b": 1.0}
    assert metric.selection() == 0.5


def test_without_a_known_label_every_metric_is_nan_and_nothing_is_selected():
    metric = SegmentationDice(TASK)
    assert all(math.isnan(value) for value in metric.compute().values())
    assert metric.selection() is None


@pytest.mark.parametrize("shape", [(9, 7), (6, 5, 4)])
def test_the_mean_over_complete_cases_with_all_labels_in_them_is_monais(shape):
    torch.manual_seed(3)
    predicted, label = torch.rand(4, 2, *shape) > 0.5, torch.rand(4, 2, *shape) > 0.6
    ours, monais = SegmentationDice(TASK), DiceMetric(include_background=True, reduction="mean_batch")
    for number in range(4):
        ours.update(str(number), {"oar": predicted[number]}, target(label[number]), (1.0,) * len(shape))
    monais(predicted, label)
    metrics = ours.compute()
    assert [metrics["oar_dice_a"], metrics["oar_dice_b"]] == pytest.approx(monais.aggregate().tolist(), abs=1e-7)


def test_dice_does_not_change_when_voxels_are_permuted_nor_when_the_two_change_places():
    torch.manual_seed(1)
    predicted, label = torch.rand(2, 5, 4, 3) > 0.4, torch.rand(2, 5, 4, 3) > 0.4
    order = torch.randperm(60)
    shuffled = [m.reshape(2, -1)[:, order].reshape(2, 5, 4, 3) for m in (predicted, label)]
    assert dice_of(predicted, label) == dice_of(*shuffled) == dice_of(label, predicted)


def test_a_task_of_one_label_works():
    metric = SegmentationDice(Segmentation("lesion", ["lesion"]))
    mask = torch.tensor([[[1, 1, 0]]]).bool()
    labels = {"lesion": torch.tensor([[[1, 0, 0]]]), "lesion_present": torch.tensor([True])}
    metric.update("x", {"lesion": mask}, labels, (1.0, 1.0))
    assert metric.compute()["lesion_dice"] == pytest.approx(2 / 3)


def test_a_prediction_on_another_grid_is_refused_with_both_shapes():
    with pytest.raises(DataError, match=r"\(2, 4, 1, 1\), expected the label's \(2, 4, 1, 2\)"):
        dice_of(volume([1, 1, 0, 0], [1, 1, 0, 0]), torch.zeros(2, 4, 1, 2))
