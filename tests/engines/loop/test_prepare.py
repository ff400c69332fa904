import pytest
import torch
from engine_kit import DOSE, GRADE, OAR, TASKS, make_item
from monai.data import MetaTensor, list_data_collate

from ctan_monai.engines import PrepareMultiTaskBatch
from ctan_monai.errors import ConfigError, DataError
from ctan_monai.tasks import Classification, Regression

AGE = Regression("age", "years", 100.0, level="image")
FINDINGS = Classification("findings", ["a", "b"], multilabel=True)


@pytest.fixture
def batch():
    return list_data_collate([make_item(0), make_item(1)])


def test_targets_are_labels_and_presence_as_plain_tensors_and_the_image_keeps_its_metadata(batch):
    image, targets = PrepareMultiTaskBatch(TASKS)(batch)
    assert isinstance(image, MetaTensor)
    assert image.meta["filename_or_obj"] == ["pt_0.nii.gz", "pt_1.nii.gz"]
    shapes = {key: tuple(value.shape) for key, value in targets.items()}
    assert shapes == {
        "oar": (2, 2, 8, 8),
        "oar_present": (2, 2),
        "dose": (2, 1, 8, 8),
        "dose_present": (2,),
        "grade": (2,),
        "grade_present": (2,),
    }
    assert all(type(value) is torch.Tensor for value in targets.values())


def test_everything_moves_to_the_device(batch):
    batch["dose_region"] = torch.ones(2, 1, 8, 8, dtype=torch.bool)
    image, targets = PrepareMultiTaskBatch(TASKS, extra=["dose_region"])(batch, "meta", non_blocking=True)
    assert {value.device.type for value in [image, *targets.values()]} == {"meta"}


def test_a_batch_without_presence_says_that_every_label_is_known(batch):
    del batch["oar_present"], batch["grade_present"]
    targets = PrepareMultiTaskBatch(TASKS)(batch)[1]
    assert targets["oar_present"].tolist() == [[True, True], [True, True]]
    assert targets["grade_present"].tolist() == [True, True]


def test_presence_from_numbers_becomes_bool(batch):
    batch["oar_present"] = torch.tensor([[1, 0], [0, 1]])
    assert PrepareMultiTaskBatch(TASKS)(batch)[1]["oar_present"].tolist() == [[True, False], [False, True]]


def test_a_region_goes_along_where_there_is_one(batch):
    batch["dose_region"] = torch.ones(2, 1, 8, 8, dtype=torch.uint8)
    assert "dose_region" in PrepareMultiTaskBatch(TASKS)(batch)[1]


def test_extra_entries_go_along(batch):
    batch["ptv"] = torch.ones(2, 1, 8, 8)
    targets = PrepareMultiTaskBatch((DOSE,), extra=["ptv"])(batch)[1]
    assert set(targets) == {"ptv", "dose", "dose_present"}


def test_a_missing_label_is_an_error_that_names_task_and_what_is_there(batch):
    del batch["dose"]
    with pytest.raises(ConfigError, match=r"batch\['dose'\].*label of task dose.*'oar'"):
        PrepareMultiTaskBatch(TASKS)(batch)


def test_a_missing_image_or_extra_entry_is_an_error(batch):
    with pytest.raises(ConfigError, match="ptv"):
        PrepareMultiTaskBatch(TASKS, extra=["ptv"])(batch)
    del batch["image"]
    with pytest.raises(ConfigError, match="the image"):
        PrepareMultiTaskBatch(TASKS)(batch)


def test_inference_needs_no_labels_and_takes_those_there_are(batch):
    del batch["dose"]
    targets = PrepareMultiTaskBatch(TASKS, require_labels=False)(batch)[1]
    assert set(targets) == {"oar", "oar_present", "grade", "grade_present"}


@pytest.mark.parametrize(
    ("task", "label", "expected"),
    [
        (OAR, torch.zeros(2, 3, 8, 8), r"\(2, 2, 8, 8\)"),
        (OAR, torch.zeros(2, 2, 8, 7), r"\(2, 2, 8, 8\)"),
        (DOSE, torch.zeros(2, 8, 8), r"\(2, 1, 8, 8\)"),
        (AGE, torch.zeros(2), r"\(2, 1\)"),
        (GRADE, torch.zeros(2, 3), r"\(2,\)"),
        (FINDINGS, torch.zeros(2), r"\(2, 2\)"),
    ],
)
def test_a_label_of_the_wrong_shape_is_an_error_that_names_cases_and_both_shapes(batch, task, label, expected):
    batch[task.name] = label
    with pytest.raises(DataError, match=f"{task.name}.*pt_0, pt_1.*expected {expected}"):
        PrepareMultiTaskBatch([task])(batch)


@pytest.mark.parametrize("task", [AGE, FINDINGS])
def test_answers_per_image_in_the_right_shape_pass(batch, task):
    batch[task.name] = torch.zeros(2, task.channels)
    assert PrepareMultiTaskBatch([task])(batch)[1][f"{task.name}_present"].tolist() == [True, True]


@pytest.mark.parametrize(
    ("key", "shape"), [("oar_present", (2,)), ("dose_present", (2, 1)), ("dose_region", (2, 8, 8))]
)
def test_presence_and_region_of_the_wrong_shape_are_errors(batch, key, shape):
    batch[key] = torch.ones(shape, dtype=torch.bool)
    with pytest.raises(DataError, match=key):
        PrepareMultiTaskBatch(TASKS)(batch)
