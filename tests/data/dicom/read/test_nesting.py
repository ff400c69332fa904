"""Contours of one plane: holes, islands, parts that overlap or touch, and contours that stand there twice."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.path import Path

from ctan_monai.data.dicom.read.nesting import Outline, nesting_of

SIZE = 60
PIXEL_MM = (1.0, 1.5)
EVERYWHERE = (0, SIZE, 0, SIZE)


def combined(*polygons, united=False, exclusive=()):
    outlines = [Outline(np.array(each, float), n in exclusive, PIXEL_MM) for n, each in enumerate(polygons)]
    return nesting_of(outlines, united)


def filled(*polygons, **how):
    return combined(*polygons, **how).fill(EVERYWHERE)


def rectangle(top, left, bottom, right):
    return [(top, left), (top, right), (bottom, right), (bottom, left)]


def circle(radius, row=30.2, column=29.7, corners=96):
    angle = np.arange(corners) * 2 * np.pi / corners
    return np.stack([row + radius * np.sin(angle), column + radius * np.cos(angle)], axis=1)


def inside(polygon):
    """Say which voxel centers lie inside, by matplotlib."""
    centers = np.stack(np.meshgrid(np.arange(SIZE), np.arange(SIZE), indexing="ij"), -1).reshape(-1, 2)
    return Path(polygon).contains_points(centers).reshape(SIZE, SIZE)


AGAIN = {
    "the same": lambda each: each,
    "the other way round": lambda each: each[::-1],
    "from another point": lambda each: np.roll(each, 31, axis=0),
    "closed": lambda each: np.concatenate([each, each[:1]]),
    "rounded": lambda each: np.round(each, 1),
    "noise of a hundredth": lambda each: each + np.random.default_rng(3).normal(0, 0.01, each.shape),
    "every second point": lambda each: each[::2],
    "more points": lambda each: np.stack([each, (each + np.roll(each, -1, axis=0)) / 2], axis=1).reshape(-1, 2),
}


@pytest.mark.parametrize("again", AGAIN.values(), ids=AGAIN)
@pytest.mark.parametrize("exclusive", [(), (0, 1)], ids=["CLOSED_PLANAR", "CLOSEDPLANAR_XOR"])
def test_a_contour_that_stands_twice_counts_once(again, exclusive):
    outer = circle(20)
    found = combined(outer, again(outer), exclusive=exclusive)
    assert found.found["twice"] == 1
    difference = found.fill(EVERYWHERE) ^ inside(outer)
    assert difference.sum() <= 0.02 * inside(outer).sum()
    assert found.area_mm2() == pytest.approx(np.pi * 20**2 * 1.5, rel=0.01)


@pytest.mark.parametrize("again", AGAIN.values(), ids=AGAIN)
def test_a_hole_that_stands_twice_is_a_hole(again):
    outer, hole = circle(20), circle(8)
    expected = inside(outer) & ~inside(hole)
    assert (filled(outer, hole, again(hole)) ^ expected).sum() <= 4
    assert (filled(outer, again(outer), hole) ^ expected).sum() <= 16


def test_contours_that_overlap_are_one_whole_with_either_setting_and_it_is_said():
    one, other = rectangle(5.5, 5.5, 30.5, 30.5), rectangle(20.5, 20.5, 50.5, 55.5)
    for united in (False, True):
        found = combined(one, other, united=united)
        assert found.fill(EVERYWHERE).sum() == 25 * 25 + 30 * 35 - 10 * 10
        assert found.found["crossing"] == 2
        assert found.area_mm2() == pytest.approx(1.5 * (25 * 25 + 30 * 35 - 10 * 10), rel=0.02)


def test_overlapping_contours_whose_type_is_exclusive_or_are_combined_by_it():
    one, other = rectangle(5.5, 5.5, 30.5, 30.5), rectangle(20.5, 20.5, 50.5, 55.5)
    for united in (False, True):
        mask = filled(one, other, united=united, exclusive=(0, 1))
        assert mask.sum() == 25 * 25 + 30 * 35 - 2 * 10 * 10
    assert filled(one, other, exclusive=(1,)).sum() == 25 * 25 + 30 * 35 - 10 * 10


NESTED = [circle(28), circle(23), circle(18), circle(13), circle(8), circle(3)]


def test_holes_and_islands_alternate_however_deep_and_in_whatever_order():
    expected = np.logical_xor.reduce([inside(each) for each in NESTED])
    for seed in range(4):
        order = np.random.default_rng(seed).permutation(len(NESTED))
        np.testing.assert_array_equal(filled(*[NESTED[n] for n in order]), expected)
    np.testing.assert_array_equal(filled(*NESTED, united=True), inside(NESTED[0]))


def test_with_the_union_a_hole_of_the_type_exclusive_or_stays_a_hole():
    for exclusive in ((0, 1), (1,), (0,)):
        expected = inside(NESTED[0]) & ~inside(NESTED[3])
        np.testing.assert_array_equal(filled(NESTED[0], NESTED[3], united=True, exclusive=exclusive), expected)
    solid = filled(NESTED[0], NESTED[2], NESTED[4], united=True, exclusive=(2,))
    np.testing.assert_array_equal(solid, inside(NESTED[0]) & ~inside(NESTED[4]))


def test_a_hole_in_a_part_that_another_part_overlaps_stays_unless_the_other_covers_it():
    one, hole = rectangle(5.5, 5.5, 40.5, 40.5), rectangle(10.5, 10.5, 20.5, 20.5)
    apart, over = rectangle(30.5, 30.5, 50.5, 50.5), rectangle(8.5, 2.5, 25.5, 25.5)
    assert filled(one, hole, apart).sum() == 35 * 35 - 10 * 10 + 20 * 20 - 10 * 10
    assert not filled(one, hole, over)[15, 15]  # it lies in both of them
    assert filled(one, hole, rectangle(14.5, 2.5, 25.5, 25.5))[16, 16]


def test_parts_that_touch_are_both_kept_and_nothing_is_said():
    left, right = rectangle(5.5, 5.5, 20.5, 20.5), rectangle(5.5, 20.5, 20.5, 40.5)
    found = combined(left, right)
    assert found.fill(EVERYWHERE).sum() == 15 * 35
    assert not any(found.found.values())
    corner = combined(left, rectangle(20.5, 20.5, 30.5, 30.5))
    assert corner.fill(EVERYWHERE).sum() == 15 * 15 + 10 * 10
    at_the_edge = combined(left, rectangle(5.5, 5.5, 10.5, 10.5))  # a hole that shares a corner with the outline
    assert at_the_edge.fill(EVERYWHERE).sum() == 15 * 15 - 5 * 5


def test_both_lobes_of_a_figure_of_eight_are_filled():
    eight = [(10.5, 10.5), (40.5, 30.5), (40.5, 10.5), (10.5, 30.5)]
    found = combined(eight)
    assert found.area_mm2() == pytest.approx(2 * 0.5 * 20 * 15 * 1.5, rel=0.03)
    assert found.fill(EVERYWHERE)[12, 20 - 1] == inside(eight)[12, 19]
    assert found.fill(EVERYWHERE).sum() == pytest.approx(300, rel=0.05)


def test_a_contour_that_runs_over_itself_is_said_and_a_keyhole_is_not():
    outer = circle(20)
    between = (outer[:40] + np.roll(outer, -1, axis=0)[:40]) / 2  # drawn on, beside the points that are there
    found = combined(np.concatenate([outer, between]))
    assert found.found["over"] == 1
    assert found.fill(EVERYWHERE).sum() < 0.95 * inside(outer).sum()
    hole = circle(8)[::-1]
    keyhole = np.concatenate([outer, outer[:1], hole, hole[:1]])
    assert combined(keyhole).found["over"] == 0
    np.testing.assert_array_equal(combined(keyhole).fill(EVERYWHERE), inside(outer) & ~inside(hole))


def test_a_contour_without_area_is_passed_over_and_counted():
    outer = circle(20)
    flat = [
        [(30, 30)] * 4,
        [(30, 10), (30, 20), (30, 15)],
        [(20, 20), (30, 30), (40, 40), (30, 30)],
        [(20.1, 20.3), (33.3, 27.7), (27.31, 24.34)],
    ]
    found = combined(outer, *flat)
    assert found.found["flat"] == 4
    np.testing.assert_array_equal(found.fill(EVERYWHERE), inside(outer))
    assert not combined(*flat).fill(EVERYWHERE).any()
    assert combined(*flat).area_mm2() == 0


def test_tiny_contours_in_a_large_one_change_what_lies_under_them_only():
    outer, tiny = circle(20), [circle(0.3, 25, 25), circle(0.05, 33.4, 30.4), circle(0.9, 40.5, 30.5)]
    difference = filled(outer, *tiny) ^ inside(outer)
    np.testing.assert_array_equal(difference, np.logical_or.reduce([inside(each) for each in tiny]))


def test_a_thin_line_of_voxels_and_a_thin_rim_stay_and_the_rim_is_said():
    line = rectangle(10.5, 5.5, 11.5, 50.5)
    assert filled(line).sum() == 45
    found = combined(circle(20), circle(19.4))
    np.testing.assert_array_equal(found.fill(EVERYWHERE), inside(circle(20)) & ~inside(circle(19.4)))
    assert found.found["thin"] == 1
    assert combined(circle(20), circle(17)).found["thin"] == 0


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32))
def test_rectangles_are_combined_as_the_rules_say(seed):
    """Random rectangles of whole voxels, compared with the rules applied to their masks."""
    random = np.random.default_rng(seed)
    boxes = []
    for _ in range(random.integers(1, 6)):
        top, left = random.integers(1, 40, 2)
        height, width = random.integers(4, 19, 2)
        boxes.append((top, left, top + height, left + width))
    boxes = list(dict.fromkeys(boxes))
    masks = [np.zeros((SIZE, SIZE), bool) for _ in boxes]
    for mask, (top, left, bottom, right) in zip(masks, boxes, strict=True):
        mask[top:bottom, left:right] = True
    around = [[m for m, b in enumerate(masks) if m != n and not (a & ~b).any()] for n, a in enumerate(masks)]

    def region(n):
        cut = [m for m in range(len(masks)) if n in around[m] and not set(around[m]) & set(inner(n))]
        return masks[n] & ~np.logical_or.reduce([region(m) for m in cut] or [np.zeros_like(masks[n])])

    def inner(n):
        return [m for m in range(len(masks)) if n in around[m]]

    expected = np.logical_or.reduce([region(n) for n in range(len(masks)) if not around[n]])
    found = filled(*[rectangle(t - 0.5, le - 0.5, b - 0.5, r - 0.5) for t, le, b, r in boxes])
    np.testing.assert_array_equal(found, expected)
