"""Contours become masks: holes, parts, slices between contours, and what cannot be a mask."""

import numpy as np
import pytest
from dicom_phantoms import BLADDER, GAS, RECTUM, Ellipsoid, Patient, keyhole

from ctan_monai.data.dicom.contours import Roi
from ctan_monai.data.dicom.geometry import Grid, plane_affine
from ctan_monai.data.dicom.masks import mask_of
from ctan_monai.errors import ConfigError, DataError


@pytest.fixture
def patient():
    return Patient()


@pytest.fixture
def grid(patient):
    affine = plane_affine(patient.row, patient.column, patient.pixel_mm, patient.corner(0), patient.step)
    return Grid((patient.rows, patient.columns, patient.slices), affine)


def roi(contours, name="Rectum"):
    return Roi(1, name, tuple(outline for _, outline in contours), "1.2", {})


def inside(shape, grid):
    index = np.moveaxis(np.indices(grid.shape), 0, -1).reshape(-1, 3).astype(float)
    return shape.inside(grid.to_lps(index)).reshape(grid.shape)


def test_a_separate_inner_contour_is_a_hole(patient, grid, dice):
    contours = patient.outlines([RECTUM, GAS])
    expected = inside(RECTUM, grid) & ~inside(GAS, grid)
    assert dice(mask_of(roi(contours), grid).mask, expected) >= 0.999


def test_a_keyhole_is_a_hole(patient, grid, dice):
    outer, holes = patient.outlines([RECTUM]), dict(patient.outlines([GAS]))
    contours = [(at, keyhole(each, holes[at]) if at in holes else each) for at, each in outer]
    assert len(contours) == len(outer)
    expected = inside(RECTUM, grid) & ~inside(GAS, grid)
    for holes_as in ("xor", "or"):
        assert dice(mask_of(roi(contours), grid, holes=holes_as).mask, expected) >= 0.999


def test_contours_are_united_on_request(patient, grid, dice):
    contours = patient.outlines([RECTUM, GAS])
    assert dice(mask_of(roi(contours), grid, holes="or").mask, inside(RECTUM, grid)) >= 0.999


def test_parts_beside_and_above_each_other_stay_apart(patient, grid, dice):
    parts = [Ellipsoid((20, 0, 12), (9, 8, 7)), Ellipsoid((-20, 0, 12), (8, 9, 7)), Ellipsoid((0, 0, -20), (12, 9, 8))]
    found = mask_of(roi(patient.outlines(parts)), grid)
    assert dice(found.mask, np.logical_or.reduce([inside(part, grid) for part in parts])) >= 0.999
    assert found.notes == ()


def test_slices_between_contours_get_a_shape_between_them(patient, grid, dice):
    every_second = patient.outlines([BLADDER], planes=range(0, patient.slices, 2))
    found = mask_of(roi(every_second), grid)
    assert dice(found.mask, inside(BLADDER, grid)) >= 0.965
    assert "slices were interpolated between contours" in found.notes[0]
    skipped = mask_of(roi(every_second), grid, between="nearest").mask
    assert not skipped[:, :, 1::2].any()
    np.testing.assert_array_equal(skipped[:, :, ::2], found.mask[:, :, ::2])


@pytest.mark.parametrize("shift", [0.3, 0.5, 0.7])
def test_contours_drawn_between_slices_are_interpolated_to_them(patient, grid, dice, shift):
    planes = np.arange(patient.slices) + shift
    found = mask_of(roi(patient.outlines([BLADDER], planes=planes)), grid).mask
    nearest = mask_of(roi(patient.outlines([BLADDER], planes=planes)), grid, between="nearest").mask
    truth = inside(BLADDER, grid)
    assert dice(found, truth) >= 0.98
    assert dice(found, truth) > dice(nearest, truth)


def test_contours_denser_than_slices_do_not_cancel(patient, grid, dice):
    planes = np.arange(0, patient.slices, 1 / 3)
    assert dice(mask_of(roi(patient.outlines([BLADDER], planes=planes)), grid).mask, inside(BLADDER, grid)) >= 0.999


def test_parts_whose_planes_differ_by_rounding_are_one_plane(patient, grid):
    left, right = Ellipsoid((20, 0, 0), (9, 8, 9)), Ellipsoid((-20, 0, 0), (9, 8, 9))
    moved = [(at, outline + np.array([0, 0, 0.2])) for at, outline in patient.outlines([right])]
    mask = mask_of(roi(patient.outlines([left]) + moved), grid).mask
    middle = grid.shape[1] // 2
    assert mask[:, :middle].sum() == pytest.approx(mask[:, middle:].sum(), rel=0.05)


def test_a_contour_across_slices_is_refused(patient, grid):
    _, outline = patient.outlines([RECTUM])[5]
    leaning = outline + np.array([0, 0, 1]) * np.linspace(0, 4, len(outline))[:, None]
    with pytest.raises(DataError, match=r"Rectum is not parallel to the CT's slices \(it leaves them by 2.0 mm\)"):
        mask_of(roi([(5, leaning)]), grid)


def test_a_structure_beyond_the_ct_is_refused_and_one_that_reaches_beyond_is_cut_off_and_says_so(patient, grid):
    beyond = patient.outlines([Ellipsoid((0, 0, 80), (10, 10, 10))], planes=range(25, 60))
    with pytest.raises(DataError, match="no contour of Rectum lies within the CT"):
        mask_of(roi(beyond), grid)
    tall = Ellipsoid((0, 0, 30), (10, 10, 20))
    found = mask_of(roi(patient.outlines([tall], planes=range(12, 40))), grid)
    assert found.mask[:, :, -1].any()
    assert "planes lie beyond the CT's first or last slice" in found.notes[0]
    wide = Ellipsoid((60, 0, 0), (30, 10, 20))
    assert "cut off at the edge" in mask_of(roi(patient.outlines([wide])), grid).notes[0]


def test_unknown_settings_are_refused(patient, grid):
    with pytest.raises(ConfigError, match="holes: 'and' is unknown"):
        mask_of(roi(patient.outlines([RECTUM])), grid, holes="and")
    with pytest.raises(ConfigError, match="between"):
        mask_of(roi(patient.outlines([RECTUM])), grid, between="skip")
