"""Filling polygons: by hand, against matplotlib, and what must not change the answer."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.path import Path

from ctan_monai.data.dicom.read.rasterize import bounding_box, fill

SHAPE = (9, 13)


def filled(*polygons, shape=SHAPE):
    polygons = [np.array(polygon, float) for polygon in polygons]
    box = bounding_box(polygons, shape)
    mask = np.zeros(shape, bool)
    mask[box[0] : box[1], box[2] : box[3]] = fill(polygons, box)
    return mask


def rectangle(top, left, bottom, right):
    return [(top, left), (top, right), (bottom, right), (bottom, left)]


def test_voxels_whose_centers_lie_inside_are_filled():
    mask = filled(rectangle(1.5, 2.5, 4.5, 5.5))
    assert np.argwhere(mask).tolist() == [[row, column] for row in (2, 3, 4) for column in (3, 4, 5)]


def test_an_edge_on_voxel_centers_counts_on_one_side_so_that_neighbors_share_no_voxel():
    left, right = filled(rectangle(1, 2, 5, 6)), filled(rectangle(1, 6, 5, 9))
    assert left.sum() == 4 * 4
    assert right.sum() == 4 * 3
    assert not (left & right).any()


def test_a_triangle_by_hand():
    mask = filled([(0.5, 0.5), (0.5, 4.5), (4.5, 0.5)])
    assert np.argwhere(mask).tolist() == [[1, 1], [1, 2], [1, 3], [2, 1], [2, 2], [3, 1]]


def test_what_reaches_beyond_the_image_is_cut_off():
    assert filled(rectangle(-5, -5, 50, 50)).all()
    assert not filled(rectangle(20, 20, 30, 30)).any()
    mask = filled(rectangle(-5, -3, 1.5, 2.5))
    assert mask.sum() == 2 * 3


def test_a_polygon_in_a_polygon_is_a_hole_and_one_in_the_hole_an_island():
    nested = [rectangle(0.5, 0.5, 8.5, 12.5), rectangle(2.5, 2.5, 6.5, 10.5), rectangle(3.5, 5.5, 5.5, 7.5)]
    mask = filled(*nested)
    assert mask.sum() == 8 * 12 - 4 * 8 + 2 * 2
    assert mask[1, 1]
    assert not mask[3, 3]
    assert mask[4, 6]


def test_a_keyhole_gives_the_same_as_a_separate_hole():
    outer, inner = rectangle(0.5, 0.5, 8.5, 12.5), rectangle(2.5, 3.3, 6.5, 9.1)
    joined = [*outer, outer[0], inner[0], inner[3], inner[2], inner[1], inner[0], outer[0]]
    np.testing.assert_array_equal(filled(joined), filled(outer, inner))


def star(random, corners):
    angle = np.sort(random.uniform(0, 2 * np.pi, corners))
    radius = random.uniform(1, 7, corners)
    return np.stack([4.1 + radius * np.sin(angle), 6.2 + 1.4 * radius * np.cos(angle)], axis=1)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32), st.integers(3, 40))
def test_it_agrees_with_matplotlib_and_does_not_care_where_a_polygon_begins_or_which_way_it_runs(seed, corners):
    random = np.random.default_rng(seed)
    polygon = star(random, corners)
    centers = np.stack(np.meshgrid(np.arange(9), np.arange(13), indexing="ij"), -1).reshape(-1, 2)
    expected = Path(polygon, closed=False).contains_points(centers).reshape(SHAPE)
    mask = filled(polygon)
    # matplotlib closes the path itself; a center within 1e-9 of an edge may fall to either side
    np.testing.assert_array_equal(mask, expected)
    np.testing.assert_array_equal(mask, filled(np.roll(polygon[::-1], 3, axis=0)))


@pytest.mark.parametrize("corners", [200])
def test_a_large_star_on_a_large_image_agrees_with_matplotlib(corners):
    random = np.random.default_rng(7)
    polygon = star(random, corners) * 25
    centers = np.stack(np.meshgrid(np.arange(240), np.arange(330), indexing="ij"), -1).reshape(-1, 2)
    expected = Path(polygon).contains_points(centers).reshape(240, 330)
    np.testing.assert_array_equal(filled(polygon, shape=(240, 330)), expected)
