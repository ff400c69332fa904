"""The same prediction has very different errors over different regions: each against a hand-computed case."""

import math

import pytest
import torch

from ctan_monai.errors import DataError
from ctan_monai.metrics.regression import ImageError, VoxelError
from ctan_monai.tasks import Regression

DOSE = Regression("dose", "Gy", 80.0)
INSIDE = Regression("ct", "HU", 1000.0, region="mask")
ONE_MM = (1.0, 1.0, 1.0)


def two_slices():
    """A (1, 2, 1, 2) volume: slice 0 holds 10 and 30 Gy, slice 1 nothing; predicted 12, 24, and 4 Gy of spill."""
    reference, predicted = torch.zeros(1, 2, 1, 2), torch.zeros(1, 2, 1, 2)
    reference[0, :, 0, 0] = torch.tensor([10.0, 30.0])
    predicted[0, :, 0, 0] = torch.tensor([12.0, 24.0])
    predicted[0, 0, 0, 1] = 4.0
    return predicted, reference


def measured(task, predicted, reference, region=None, present=True):
    metric = VoxelError(task)
    target = {task.name: reference, f"{task.name}_present": torch.tensor(present)}
    if region is not None:
        target[f"{task.name}_region"] = region
    metric.update("x", {task.name: predicted}, target, ONE_MM)
    return metric


def test_each_error_is_the_mean_over_the_region_in_its_name():
    predicted, reference = two_slices()
    region = torch.zeros(1, 2, 1, 2, dtype=torch.uint8)
    region[0, 1, 0, 0] = 1  # the 30 Gy voxel only
    assert measured(DOSE, predicted, reference, region).compute() == {
        "dose_mae_volume": (2 + 6 + 4) / 4,
        "dose_mae_slices": (2 + 6) / 2,  # the empty slice and its spill do not count
        "dose_mae_region": 6.0,
        "dose_zero_mae_volume": (10 + 30) / 4,
    }


def test_the_selection_is_the_share_of_the_zero_predictions_error_that_is_gone():
    predicted, reference = two_slices()
    assert measured(DOSE, predicted, reference).selection() == pytest.approx(1 - 3.0 / 10.0)
    assert measured(DOSE, reference, reference).selection() == 1.0
    assert measured(DOSE, torch.zeros_like(reference), reference).selection() == 0.0


def test_the_selection_compares_means_over_cases():
    metric = VoxelError(DOSE)
    for case, value, error in (("a", 10.0, 1.0), ("b", 30.0, 5.0)):
        label = torch.full((1, 2, 2, 2), value)
        target = {"dose": label, "dose_present": torch.tensor(True)}
        metric.update(case, {"dose": label + error}, target, ONE_MM)
    assert metric.selection() == pytest.approx(1 - 3.0 / 20.0)


def test_outside_its_region_a_masked_task_knows_nothing():
    predicted, reference = two_slices()
    region = torch.zeros(1, 2, 1, 2, dtype=torch.bool)
    region[0, :, 0, 0] = True
    metric = measured(INSIDE, predicted, reference, region)
    assert metric.compute() == {"ct_mae_region": 4.0, "ct_zero_mae_region": 20.0}
    elsewhere = torch.where(region, predicted, 1e6)
    assert measured(INSIDE, elsewhere, reference, region).rows() == metric.rows()
    assert metric.selection() == pytest.approx(1 - 4.0 / 20.0)


def test_a_case_without_a_region_has_no_error_over_it():
    predicted, reference = two_slices()
    assert math.isnan(measured(DOSE, predicted, reference).compute()["dose_mae_region"])
    metric = measured(INSIDE, predicted, reference)
    assert all(math.isnan(value) for value in metric.compute().values())
    assert metric.selection() is None


def test_an_unknown_label_is_left_out():
    predicted, reference = two_slices()
    metric = measured(DOSE, predicted, reference, present=False)
    assert all(math.isnan(value) for value in metric.compute().values())
    assert metric.selection() is None


def test_images_have_no_slices():
    metric = VoxelError(DOSE)
    target = {"dose": torch.ones(1, 3, 3), "dose_present": torch.tensor(True)}
    metric.update("x", {"dose": torch.zeros(1, 3, 3)}, target, (1.0, 1.0))
    assert metric.compute()["dose_mae_volume"] == 1.0
    assert math.isnan(metric.compute()["dose_mae_slices"])


def test_scaling_both_scales_the_error_and_leaves_the_selection():
    torch.manual_seed(0)
    predicted, reference = torch.rand(2, 1, 4, 4, 4)
    once, tenfold = measured(DOSE, predicted, reference), measured(DOSE, 10 * predicted, 10 * reference)
    assert tenfold.compute()["dose_mae_volume"] == pytest.approx(10 * once.compute()["dose_mae_volume"])
    assert tenfold.selection() == pytest.approx(once.selection())


@pytest.mark.parametrize("which", [0, 1])
def test_nan_is_refused_instead_of_reading_as_unknown(which):
    pair = list(two_slices())
    pair[which] = torch.full_like(pair[which], float("nan"))
    with pytest.raises(DataError, match="4 of 4 values are not finite"):
        measured(DOSE, *pair)


def test_a_region_on_another_grid_is_refused():
    predicted, reference = two_slices()
    with pytest.raises(DataError, match="dose_region"):
        measured(DOSE, predicted, reference, torch.ones(1, 2, 2, 2))


def test_an_image_level_error_is_the_mean_absolute_difference_of_what_is_known():
    task = Regression("age", "years", 100.0, level="image")
    metric = ImageError(task)
    for case, truth, answer, known in (("a", 50.0, 54.0, True), ("b", 30.0, 28.0, True), ("c", 0.0, 99.0, False)):
        target = {"age": torch.tensor([truth]), "age_present": torch.tensor(known)}
        metric.update(case, {"age": torch.tensor([answer])}, target, ())
    assert metric.compute() == {"age_mae": 3.0, "age_zero_mae": 40.0}
    assert metric.selection() == pytest.approx(1 - 3 / 40)
