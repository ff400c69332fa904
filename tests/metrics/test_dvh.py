"""DVHs against a structure of four voxels, and the law that the area under the curve is the mean dose."""

import numpy as np
import pytest

from ctan_monai.errors import DataError
from ctan_monai.metrics.dvh import (
    cc_at_dose,
    dose_at_cc,
    dose_at_percent,
    doses_inside,
    dvh_curve,
    percent_at_dose,
)

DOSE = np.array([[10.0, 20.0, 99.0], [20.0, 40.0, 99.0]])
MASK = np.array([[1, 1, 0], [1, 1, 0]], dtype=bool)


def test_a_structure_of_four_voxels():
    curve = dvh_curve(DOSE, MASK, voxel_mm3=500.0, bins=[0, 10, 15, 20, 30, 40, 41])
    assert curve.volume_percent.tolist() == [100, 100, 75, 75, 25, 25, 0]
    assert curve.volume_cc.tolist() == [2.0, 2.0, 1.5, 1.5, 0.5, 0.5, 0.0]


def test_the_area_under_the_curve_is_the_mean_dose():
    rng = np.random.default_rng(0)
    dose, mask = rng.gamma(2.0, 15.0, (20, 20, 20)), rng.random((20, 20, 20)) < 0.2
    inside = dose[mask]
    steps = [0.0, *np.unique(inside)]  # the curve is a staircase: exact if every stair is a bin
    curve = dvh_curve(dose, mask, 30.0, steps)
    assert (np.diff(curve.dose_gy) * curve.volume_percent[1:] / 100).sum() == pytest.approx(inside.mean(), rel=1e-12)
    coarse = dvh_curve(dose, mask, 30.0, 200)
    width = inside.max() / 200
    assert len(coarse.dose_gy) == 201
    assert np.trapezoid(coarse.volume_percent / 100, coarse.dose_gy) == pytest.approx(inside.mean(), abs=width)


def test_a_curve_falls_from_everything_to_the_hottest_voxel_whatever_the_voxels_order():
    rng = np.random.default_rng(1)
    dose, mask = rng.random((8, 8)), rng.random((8, 8)) < 0.5
    curve, order = dvh_curve(dose, mask, 1.0, 50), rng.permutation(64)
    shuffled = dvh_curve(dose.ravel()[order], mask.ravel()[order], 1.0, 50)
    assert (np.diff(curve.volume_percent) <= 0).all()
    assert curve.volume_percent[0] == 100.0
    assert curve.volume_cc[-1] == 0.001
    assert np.array_equal(curve.volume_cc, shuffled.volume_cc)


def test_dose_at_percent_and_percent_at_dose_undo_each_other():
    inside = np.arange(1.0, 101.0)
    assert percent_at_dose(inside, 96.0) == 5.0
    assert dose_at_percent(inside, 5.0) == pytest.approx(95.05)  # numpy interpolates between 95 and 96
    assert dose_at_percent(inside, 100.0) == 1.0
    assert dose_at_percent(inside, 0.0) == 100.0
    assert cc_at_dose(inside, 96.0, voxel_mm3=200.0) == 1.0


def test_dose_at_cc_is_the_percentile_of_the_official_formula():
    inside = np.arange(1.0, 101.0)
    assert dose_at_cc(inside, 0.1, voxel_mm3=10.0) == pytest.approx(np.percentile(inside, 90))  # 0.1 cc = 10 voxels
    assert dose_at_cc(inside, 0.1, voxel_mm3=500.0) == pytest.approx(np.percentile(inside, 99))  # at least one voxel


@pytest.mark.parametrize("voxels", [1, 9, 10])
def test_a_structure_that_is_smaller_than_the_volume_gives_its_lowest_dose(voxels):
    inside = np.linspace(20.0, 30.0, voxels)
    assert dose_at_cc(inside, 0.1, voxel_mm3=10.0) == 20.0


def test_an_empty_structure_and_another_grid_are_refused():
    with pytest.raises(DataError, match="empty"):
        doses_inside(DOSE, np.zeros_like(MASK))
    with pytest.raises(DataError, match=r"\(2, 2\), the dose's \(2, 3\)"):
        doses_inside(DOSE, MASK[:, :2])
