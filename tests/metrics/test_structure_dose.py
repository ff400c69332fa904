"""The dose in each structure, on cases that can be worked out by hand."""

import math

import pytest
import torch

from ctan_monai.errors import ConfigError, DataError
from ctan_monai.metrics.structure_dose import StructureDose
from ctan_monai.tasks import Regression, Segmentation

DOSE = Regression("dose", "Gy", 80.0, region="mask")
STRUCTURES = Segmentation("structures", ["Rectum", "PTV"], overlapping=True)


def case(reference, predicted, rectum, ptv=None, region=None, known=True):
    """Lay out a case of one row of voxels; None: not contoured, or everywhere known."""
    size = len(reference)
    target = {
        "dose": torch.tensor(reference).reshape(1, size, 1, 1),
        "dose_present": torch.tensor(known),
        "structures": torch.tensor([rectum, ptv or [0] * size]).reshape(2, size, 1, 1).to(torch.uint8),
        "structures_present": torch.tensor([True, ptv is not None]),
    }
    if region is not None:
        target["dose_region"] = torch.tensor(region).reshape(1, size, 1, 1)
    return {"dose": torch.tensor(predicted).reshape(1, size, 1, 1)}, target


def test_metrics_of_a_structure_are_those_of_its_voxels():
    metric = StructureDose(DOSE, STRUCTURES, ["Dmean", "D0.1cc", "V40Gy", "V40Gycc"])
    metric.update("a", *case([10.0, 40.0, 60.0, 5.0], [12.0, 36.0, 61.0, 99.0], [1, 1, 1, 0]), (10.0, 10.0, 10.0))
    found = metric.compute()
    assert found["dose_mae_Rectum"] == pytest.approx((2 + 4 + 1) / 3)
    assert found["dose_error_Rectum_Dmean"] == pytest.approx(abs(110 - 109) / 3)
    assert found["dose_error_Rectum_V40Gy"] == pytest.approx(100 / 3)  # 2 of 3 voxels against 1 of 3
    assert found["dose_error_Rectum_V40Gycc"] == pytest.approx(1.0)  # voxels of 1 cc
    (row,) = metric.rows()
    assert row["Rectum:Dmean:reference"] == pytest.approx(110 / 3)
    assert row["Rectum:Dmean:prediction"] == pytest.approx(109 / 3)
    assert math.isnan(row["PTV:Dmean:reference"])  # not contoured
    assert math.isnan(found["dose_mae_PTV"])


def test_voxels_whose_dose_is_unknown_do_not_count():
    metric = StructureDose(DOSE, STRUCTURES)
    metric.update("a", *case([10.0, 0.0], [11.0, 50.0], [1, 1], [0, 1], region=[1, 0]), (3.0, 3.0, 3.0))
    assert metric.compute()["dose_mae_Rectum"] == 1.0
    assert math.isnan(metric.compute()["dose_mae_PTV"])  # lies where nothing is known


def test_means_are_over_the_cases_in_which_the_structure_and_the_dose_are_known():
    metric = StructureDose(DOSE, STRUCTURES, ["D50%"])
    metric.update("a", *case([10.0], [13.0], [1], [1]), (3.0, 3.0, 3.0))
    metric.update("b", *case([10.0], [15.0], [1]), (3.0, 3.0, 3.0))
    metric.update("c", *case([10.0], [90.0], [1], [1], known=False), (3.0, 3.0, 3.0))
    found = metric.compute()
    assert found["dose_error_Rectum_D50%"] == 4.0
    assert found["dose_error_PTV_D50%"] == found["dose_mae_PTV"] == 3.0
    assert metric.selection() is None


@pytest.mark.parametrize(("name", "named"), [("median", "is unknown"), ("V95%", "relative to the prescription")])
def test_a_metric_that_cannot_be_read_is_refused(name, named):
    with pytest.raises(ConfigError, match=named):
        StructureDose(DOSE, STRUCTURES, [name])


def test_another_task_than_a_dose_is_refused():
    with pytest.raises(ConfigError, match="expected Gy per voxel"):
        StructureDose(Regression("ct", "HU", 1000.0), STRUCTURES)


def test_doses_that_do_not_fit_or_are_no_numbers_are_refused():
    metric = StructureDose(DOSE, STRUCTURES)
    prediction, target = case([10.0, 20.0], [1.0, 2.0], [1, 1])
    with pytest.raises(DataError, match="shape"):
        metric.update("a", {"dose": prediction["dose"][:, :1]}, target, (3.0, 3.0, 3.0))
    with pytest.raises(DataError, match="finite"):
        metric.update("a", {"dose": prediction["dose"] / 0}, target, (3.0, 3.0, 3.0))
