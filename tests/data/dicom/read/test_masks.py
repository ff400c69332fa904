"""Contours become masks: holes, parts, slices between contours, and what cannot be a mask."""

import numpy as np
import pytest
from dicom_phantoms import BLADDER, GAS, RECTUM, Ellipsoid, Patient, keyhole

from ctan_monai.data.dicom.read.contours import Roi
from ctan_monai.data.dicom.read.geometry import Grid, plane_affine
from ctan_monai.data.dicom.read.masks import mask_of
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


@pytest.mark.parametrize("step", [0.07, 0.1, 0.2, 1 / 3, 0.4])
@pytest.mark.parametrize("between", ["interpolate", "nearest"])
def test_contours_denser_than_slices_do_not_cancel(patient, grid, dice, step, between):
    for first in (0, step / 3):
        contours = patient.outlines([RECTUM, GAS], planes=np.arange(first, patient.slices, step))
        found = mask_of(roi(contours), grid, between=between)
        assert dice(found.mask, inside(RECTUM, grid) & ~inside(GAS, grid)) >= 0.98
        assert found.notes == () or found.notes[0].endswith("slices were interpolated between contours")


@pytest.mark.parametrize("away", [0.01, 0.06, 0.14, 0.3])
def test_a_structure_that_was_exported_twice_a_little_apart_is_there_once(patient, grid, dice, away):
    planes = np.arange(patient.slices)
    twice = patient.outlines([BLADDER], planes) + patient.outlines([BLADDER], planes + away)
    assert dice(mask_of(roi(twice), grid).mask, inside(BLADDER, grid)) >= 0.985
    single = [each for each in twice if round(each[0]) == 12]
    assert len(single) == 2
    assert mask_of(roi(single), grid).mask.any(axis=(0, 1)).sum() == 1


@pytest.mark.parametrize("shift", [0.25, 0.5])
def test_parts_beside_each_other_have_planes_of_their_own(patient, grid, dice, shift):
    left, right = Ellipsoid((22, 0, 0), (12, 11, 15)), Ellipsoid((-22, 0, 0), (12, 11, 15))
    moved = patient.outlines([right], planes=np.arange(patient.slices) + shift)
    sparse = patient.outlines([right], planes=range(0, patient.slices, 2))
    for other, least in ((moved, 0.97), (sparse, 0.97)):
        found = mask_of(roi(patient.outlines([left]) + other), grid).mask
        assert dice(found, inside(left, grid) | inside(right, grid)) >= least


def test_a_plane_whose_contours_hold_no_voxel_and_contours_without_area_are_said(patient, grid):
    at = [each for each in patient.outlines([RECTUM]) if each[0] in (8, 9, 10)]
    outline = at[1][1]
    small = outline.mean(axis=0) + (outline - outline.mean(axis=0)) * 0.01 + [0.75, 0.9, 0]
    found = mask_of(roi([at[0], (9, small), at[2]]), grid)
    assert "1 planes have contours that hold no voxel's center" in found.notes
    flat = np.stack([outline[0], outline[50], outline[0], outline[50]])
    assert mask_of(roi([*at, (9, flat)]), grid).notes == ("1 contours enclose no area",)


def test_a_mask_whose_volume_is_not_the_contours_says_both(patient, grid):
    every_second = roi(patient.outlines([BLADDER], planes=range(0, patient.slices, 2)))
    (note,) = mask_of(every_second, grid, between="nearest").notes
    cm3 = 4 / 3 * np.pi * np.prod(BLADDER.axes) / 1000
    words = note.split()
    assert words[:3] == ["its", "mask", "holds"]
    assert float(words[3]) == pytest.approx(cm3 / 2, rel=0.1)
    assert float(words[7]) == pytest.approx(cm3, rel=0.06)  # ends reach half a slice at most
    tall = Ellipsoid((0, 0, 30), (10, 10, 20))
    cut = mask_of(roi(patient.outlines([tall], planes=range(12, 40))), grid).notes
    assert any(each.startswith("its mask holds") for each in cut)
    assert mask_of(roi(patient.outlines([BLADDER])), grid).notes == ()


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
