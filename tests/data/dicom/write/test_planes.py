from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest

from ctan_monai.data.dicom.write.planes import in_planes, straightened
from ctan_monai.errors import DataError

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


@pytest.mark.parametrize("position", ["HFS", "FFS", "HFDL", "oblique"])
def test_every_voxel_stays_where_it_is_however_the_axes_lie(references, position):
    reference = references(position)
    array = np.arange(4 * 5 * 6).reshape(4, 5, 6)
    for order, flips in product(permutations(range(3)), product([1, -1], repeat=3)):
        turn = np.eye(4)
        turn[:3, :3] = np.diag(flips)[:, order] * [1, 2, 3]  # other spacings than the CT's, voxels that never coincide
        affine_ras = reference.affine_ras @ turn
        planes = in_planes(array, affine_ras, reference, "dose")
        assert min(planes.spacing_mm) > 0
        for index in ((0, 0, 0), (1, 2, 3), (3, 4, 5)):
            (found,) = np.argwhere(planes.voxels == array[index])
            where = planes.where_mm(found[0], np.array([[found[2], found[1]]], float))[0]
            assert where == pytest.approx((LPS @ affine_ras @ (*index, 1))[:3], abs=1e-9)


def test_a_grid_that_is_not_parallel_to_the_ct_is_refused(reference):
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(0.05), -np.sin(0.05)], [np.sin(0.05), np.cos(0.05)]]
    square = np.diag([1.0, 1.0, 2.0, 1.0])
    with pytest.raises(DataError, match="Resample to a grid"):
        in_planes(np.zeros((3, 3, 3)), turn @ square, reference, "dose")


@pytest.mark.parametrize(("array", "affine"), [(np.zeros((3, 3)), np.eye(4)), (np.zeros((3, 3, 3)), np.eye(3))])
def test_what_is_no_volume_is_refused(reference, array, affine):
    with pytest.raises(DataError, match="expected three axes"):
        in_planes(array, affine, reference, "mask X")


def test_a_tilted_stack_is_straightened_without_moving_what_is_in_it(references):
    reference = references("HFS", 15.0)
    shape = (30, 24, 9)
    index = np.stack(np.meshgrid(*(np.arange(side) for side in shape), indexing="ij"), -1)
    affine_lps = LPS @ reference.affine_ras
    where = index @ affine_lps[:3, :3].T + affine_lps[:3, 3]
    dose = 0.4 * where[..., 0] + 0.2 * where[..., 1] - 0.3 * where[..., 2] + 300  # linear, so interpolation is exact
    tilted = in_planes(dose, reference.affine_ras, reference, "dose")
    assert tilted.sheared_mm == pytest.approx(8 * 2.5 * np.sin(np.deg2rad(15)), rel=1e-4)
    straight = straightened(tilted)
    assert straight.sheared_mm < 1e-9
    for plane, row, column in ((0, 10, 12), (4, 8, 20), (8, 15, 3)):
        at = straight.where_mm(plane, np.array([[column, row]], float))[0]
        assert straight.voxels[plane, row, column] == pytest.approx(at @ (0.4, 0.2, -0.3) + 300, abs=1e-6)


def test_a_straight_stack_is_left_alone(reference):
    planes = in_planes(np.zeros((3, 4, 5)), reference.affine_ras, reference, "dose")
    assert straightened(planes) is planes
