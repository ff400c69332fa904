from __future__ import annotations

import itertools

import numpy as np
import pytest

from ctan_monai.errors import ConfigError, DataError
from ctan_monai.report.planes import choose_point, lpi_spacing_mm, planes_through, reorient_lpi

# x to the left, y to the back, z down (LPI) on voxels of 2, 3 and 5 mm, as RAS
LPI = np.diag([-2.0, -3.0, -5.0, 1.0])
ORDERS = list(itertools.permutations(range(3)))
FLIPS = list(itertools.product([False, True], repeat=3))


def _stored_otherwise(volume, order, flips):
    """Store a volume with its axes in another order and direction, and say so in its affine."""
    affine = LPI.copy()
    for axis, flip in enumerate(flips):
        if flip:
            volume = np.flip(volume, axis)
            affine[:3, 3] += affine[:3, axis] * (volume.shape[axis] - 1)
            affine[:3, axis] *= -1
    columns = affine[:, [*order, 3]]
    return np.transpose(volume, order), columns


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("flips", FLIPS)
def test_the_image_does_not_depend_on_how_the_array_was_stored(order, flips):
    volume = np.arange(2 * 3 * 4).reshape(2, 3, 4)
    stored, affine_ras = _stored_otherwise(volume, order, flips)
    np.testing.assert_array_equal(reorient_lpi(stored, affine_ras), volume)
    assert lpi_spacing_mm(affine_ras) == (2.0, 3.0, 5.0)


@pytest.mark.parametrize("order", ORDERS)
def test_right_is_on_the_left_and_anterior_and_superior_are_at_the_top(order):
    shape = (5, 5, 5)
    marked = {}
    for name, voxel in {"right": (0, 2, 2), "anterior": (2, 0, 2), "superior": (2, 2, 0)}.items():
        marked[name] = np.zeros(shape)
        marked[name][voxel] = 1  # by LPI's definition: low x is right, low y anterior, low z superior
    stored = {name: _stored_otherwise(volume, order, (False, True, False)) for name, volume in marked.items()}
    affine_ras = stored["right"][1]
    axial, coronal, sagittal = planes_through((2, 2, 2), shape, affine_ras)
    reoriented = {name: reorient_lpi(volume, affine_ras) for name, (volume, _) in stored.items()}
    assert axial.cut(reoriented["right"])[2, 0] == coronal.cut(reoriented["right"])[2, 0] == 1
    assert axial.cut(reoriented["anterior"])[0, 2] == sagittal.cut(reoriented["anterior"])[2, 0] == 1
    assert coronal.cut(reoriented["superior"])[0, 2] == sagittal.cut(reoriented["superior"])[0, 2] == 1
    assert axial.letters == ("R", "L", "A", "P")
    assert coronal.letters == ("R", "L", "S", "I")
    assert sagittal.letters == ("A", "P", "S", "I")


def test_a_plane_is_as_wide_and_high_as_it_is_in_the_patient():
    volume = np.zeros((10, 20, 30))
    axial, coronal, sagittal = planes_through((5, 5, 5), volume.shape, LPI)
    assert axial.extent_mm(volume) == (0, 10 * 2, 20 * 3, 0)
    assert coronal.extent_mm(volume) == (0, 10 * 2, 30 * 5, 0)
    assert sagittal.extent_mm(volume) == (0, 20 * 3, 30 * 5, 0)


def test_planes_go_through_the_voxel_that_was_asked_for():
    volume = np.arange(4 * 5 * 6).reshape(4, 5, 6)
    stored, affine_ras = _stored_otherwise(volume, (2, 0, 1), (True, False, True))
    voxel = (4, 1, 2)
    for plane in planes_through(voxel, stored.shape, affine_ras):
        assert stored[voxel] in plane.cut(reorient_lpi(stored, affine_ras))


def test_the_dose_rule_takes_the_center_of_the_high_dose():
    dose = np.zeros((9, 9, 9))
    dose[2:5, 3:6, 4:7] = 65.0
    dose[3, 4, 4] = 70.0  # at least 90 % of it is 63 Gy: the whole box, whose center is (3, 4, 5)
    dose[8, 8, 8] = 60.0
    point, reason = choose_point("dose", dose.shape, dose)
    assert point == (3, 4, 5)
    assert "90%" in reason


def test_the_structures_rule_takes_the_largest_areas():
    mask = np.zeros((9, 9, 9), bool)
    mask[1:8, 4, 2] = True
    mask[1, 1:8, 2] = True
    assert choose_point("structures", mask.shape, None, [mask])[0] == (1, 4, 2)


def test_without_a_dose_structures_decide_and_without_them_the_middle():
    mask = np.zeros((9, 9, 9), bool)
    mask[2, 3, 4] = True
    assert choose_point("dose", mask.shape, np.zeros(mask.shape), [mask])[0] == (2, 3, 4)
    assert choose_point("dose", mask.shape)[0] == (4, 4, 4)


@pytest.mark.parametrize("rule", ["best", [1, 2], [0, 0, 9], [-1, 0, 0]])
def test_a_rule_that_is_none_is_refused(rule):
    with pytest.raises(ConfigError, match="planes"):
        choose_point(rule, (9, 9, 9))


def test_an_image_without_depth_has_no_planes():
    with pytest.raises(DataError, match="Only 3D"):
        reorient_lpi(np.zeros((4, 4)), LPI)
