from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra import numpy as hnp
from matplotlib.path import Path as Polygon

from ctan_monai.data.dicom.write.planes import contours_of_level, contours_of_mask


def area(points):
    x, y = points.T
    return float(0.5 * (x @ np.roll(y, -1) - y @ np.roll(x, -1)))


def test_one_voxel_becomes_a_diamond_around_its_center():
    mask = np.zeros((5, 7), bool)
    mask[2, 4] = True
    (points,) = contours_of_mask(mask)
    assert sorted(points.tolist()) == [[3.5, 2], [4, 1.5], [4, 2.5], [4.5, 2]]


def test_a_box_has_eight_points_and_its_area_less_four_corners():
    mask = np.zeros((9, 12), bool)
    mask[2:5, 3:10] = True
    (points,) = contours_of_mask(mask)
    assert len(points) == 8
    assert abs(area(points)) == pytest.approx(3 * 7 - 4 / 8)


def test_a_hole_is_a_contour_of_its_own_that_runs_the_other_way():
    mask = np.ones((7, 7), bool)
    mask[2:4, 3:5] = False
    hole, outline = sorted((area(points) for points in contours_of_mask(mask)), key=abs)
    assert hole * outline < 0
    assert (abs(hole), abs(outline)) == pytest.approx((4 - 4 / 8, 49 - 4 / 8))


def test_voxels_that_touch_at_a_corner_stay_apart():
    assert [len(points) for points in contours_of_mask(np.eye(2, dtype=bool))] == [4, 4]


def test_nothing_gives_no_contour():
    assert contours_of_mask(np.zeros((4, 4), bool)) == []


@settings(max_examples=80, deadline=None)
@given(mask=hnp.arrays(bool, (9, 11)))
def test_the_voxel_centers_inside_are_the_mask_whatever_it_looks_like(mask):
    rows, columns = np.indices(mask.shape)
    centers = np.column_stack([columns.ravel(), rows.ravel()])
    found = np.zeros(mask.size, bool)
    for points in contours_of_mask(mask):
        found ^= Polygon(points).contains_points(centers)
    assert np.array_equal(found.reshape(mask.shape), mask)


def test_a_circle_is_traced_far_finer_than_a_pixel():
    rows, columns = np.indices((60, 60))
    (points,) = contours_of_level(20.3 - np.hypot(columns - 30.2, rows - 29.6), 0.0)
    assert np.abs(np.hypot(points[:, 0] - 30.2, points[:, 1] - 29.6) - 20.3).max() < 0.02


def test_a_contour_that_the_border_cuts_stays_within_it():
    (points,) = contours_of_level(np.array([[0.0, 1, 1], [0, 1, 1], [0, 0, 0]]))
    assert points.min() >= 0
    assert points.max() <= 2
