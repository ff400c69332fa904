"""Doses: read in Gy, put on the CT's grid, refused if they are none."""

import numpy as np
import pytest
from dicom_phantoms import POSITIONS, Patient, dose_at, save_all

from ctan_monai.data.dicom.read.dose_file import read_dose
from ctan_monai.data.dicom.read.dose_sum import dose_on_grid
from ctan_monai.data.dicom.read.geometry import Grid, plane_affine
from ctan_monai.errors import DataError


@pytest.fixture
def load(tmp_path):
    def run(dataset, **options):
        return read_dose(save_all([dataset], tmp_path)[0], **options)

    return run


def ct_grid(patient, rows=20, columns=24, slices=9, spacing_mm=(4.1, 5.3, 7.7)):
    """Return a coarse grid about the patient's middle, oriented as its CT."""
    size = np.array([rows, columns, slices])
    affine = plane_affine(patient.row, patient.column, spacing_mm[:2], (0, 0, 0), patient.normal * spacing_mm[2])
    affine[:3, 3] = np.array(patient.center) - affine[:3, :3] @ (size - 1) / 2
    return Grid((rows, columns, slices), affine)


def points_of(grid):
    index = np.moveaxis(np.indices(grid.shape), 0, -1).reshape(-1, 3).astype(float)
    return grid.to_lps(index).reshape(*grid.shape, 3)


def reversed_frames(dataset):
    """Store the last frame first: offsets fall, as some systems write them."""
    values = np.frombuffer(dataset.PixelData, np.uint32).reshape(dataset.NumberOfFrames, -1)
    offsets = np.array(dataset.GridFrameOffsetVector, float)
    normal = np.cross(dataset.ImageOrientationPatient[:3], dataset.ImageOrientationPatient[3:])
    dataset.ImagePositionPatient = list(np.array(dataset.ImagePositionPatient, float) + offsets[-1] * normal)
    dataset.GridFrameOffsetVector = list(offsets[::-1] - offsets[-1])
    dataset.PixelData = values[::-1].tobytes()
    return dataset


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("offsets", ["relative", "absolute", "falling"])
def test_every_way_of_saying_where_frames_lie_gives_the_same_dose(load, position, offsets):
    patient = Patient(position=position)
    dataset = patient.rtdose(absolute=offsets == "absolute")
    dose = load(reversed_frames(dataset) if offsets == "falling" else dataset)
    grid = ct_grid(patient)
    dose_gy, region = dose_on_grid(dose, grid)
    assert 0.3 < region.mean() < 1
    np.testing.assert_allclose(dose_gy[region], dose_at(points_of(grid))[region], atol=1e-4)
    assert not dose_gy[~region].any()


def test_absolute_offsets_may_be_rounded(load):
    patient = Patient()
    dataset = patient.rtdose(absolute=True)
    exact = load(dataset)
    dataset.GridFrameOffsetVector = [round(float(each), 1) for each in dataset.GridFrameOffsetVector]
    rounded = load(dataset)
    np.testing.assert_allclose(rounded.offsets_mm, exact.offsets_mm, atol=1e-9)


def test_frames_may_lie_unevenly(load):
    patient = Patient()
    dataset = patient.rtdose()
    values = np.frombuffer(dataset.PixelData, np.uint32).reshape(dataset.NumberOfFrames, -1)
    kept = [0, 1, 2, 5, 6, 9, 12]
    dataset.GridFrameOffsetVector = [dataset.GridFrameOffsetVector[frame] for frame in kept]
    dataset.PixelData, dataset.NumberOfFrames = values[kept].tobytes(), len(kept)
    grid = ct_grid(patient)
    dose_gy, region = dose_on_grid(load(dataset), grid)
    np.testing.assert_allclose(dose_gy[region], dose_at(points_of(grid))[region], atol=1e-4)


@pytest.mark.promise(4, "a dose on another, oblique grid is resampled as SimpleITK does")
def test_it_agrees_with_simpleitk_on_oblique_grids(load):
    """SimpleITK's own interpolation, geometry and all; it does not know DoseGridScaling."""
    import SimpleITK as sitk

    patient, turned = Patient(position="HFDL"), Patient(position="HFS", tilt_deg=20)
    random = np.random.default_rng(3)
    dataset = patient.rtdose(values=lambda points: random.uniform(0, 70, points.shape[:-1]))
    dose, grid = load(dataset), ct_grid(turned, slices=15, spacing_mm=(3.3, 2.9, 4.1))
    dose_gy, region = dose_on_grid(dose, grid)

    image = sitk.GetImageFromArray(dataset.pixel_array.astype(np.float64) * float(dataset.DoseGridScaling))
    image.SetSpacing([4.0, 3.0, 5.0])
    image.SetOrigin([float(each) for each in dataset.ImagePositionPatient])
    image.SetDirection(np.stack([patient.row, patient.column, patient.normal], axis=1).ravel().tolist())
    rows_mm, columns_mm, slices_mm = grid.spacing_mm
    direction = grid.affine_lps[:3, [1, 0, 2]] / [columns_mm, rows_mm, slices_mm]
    rows, columns, slices = grid.shape
    resampled = sitk.Resample(
        image,
        [columns, rows, slices],
        sitk.Transform(),
        sitk.sitkLinear,
        grid.affine_lps[:3, 3].tolist(),
        [columns_mm, rows_mm, slices_mm],
        direction.ravel().tolist(),
        -1.0,
    )
    expected = np.moveaxis(sitk.GetArrayFromImage(resampled), 0, -1)
    assert region.mean() > 0.2
    np.testing.assert_allclose(dose_gy[region], expected[region], atol=2e-3)
    assert (expected[region] >= 0).all()  # SimpleITK knows the dose there too; it reaches half a voxel further


def test_dose_at_the_outermost_voxel_centers_is_known_and_beyond_them_unknown(load):
    patient = Patient()
    dataset = patient.rtdose()
    corner = np.array(dataset.ImagePositionPatient, float)
    affine = plane_affine(patient.row, patient.column, (3.0, 4.0), corner - [4, 3, 5], patient.normal * 5.0)
    dose_gy, region = dose_on_grid(load(dataset), Grid((42, 52, 15), affine))
    expected = np.zeros((42, 52, 15), bool)
    expected[1:-1, 1:-1, 1:-1] = True
    np.testing.assert_array_equal(region, expected)
    assert (dose_gy[region] > 0).all()


def test_a_dose_in_parts_or_percent_of_a_prescription_is_converted_or_refused(load):
    for scale in (1 / 60, 100 / 60):
        dataset = Patient().rtdose(values=lambda points, scale=scale: dose_at(points) * scale)
        dataset.DoseUnits = "RELATIVE"
        with pytest.raises(DataError, match="relative units"):
            load(dataset)
        dose = load(dataset, prescription_gy=60.0)
        assert dose.dose_gy.max() == pytest.approx(load(Patient().rtdose()).dose_gy.max(), rel=1e-4)
        assert dose.notes == ("relative dose converted with a prescription of 60 Gy",)


def changed(**attributes):
    def change(dataset):
        for name, value in attributes.items():
            if value is None:
                delattr(dataset, name)
            else:
                setattr(dataset, name, value)
        return dataset

    return change


def one_frame(dataset):
    dataset.PixelData = dataset.PixelData[: len(dataset.PixelData) // dataset.NumberOfFrames]
    dataset.NumberOfFrames, dataset.GridFrameOffsetVector = 1, [0.0]
    return dataset


def negative(dataset):
    values = np.frombuffer(dataset.PixelData, np.int32).copy()
    values[7] = -1000000
    dataset.PixelData, dataset.PixelRepresentation = values.tobytes(), 1
    return dataset


def repeated_frame(dataset):
    dataset.GridFrameOffsetVector = [0.0, 0.0, *dataset.GridFrameOffsetVector[2:]]
    return dataset


REFUSED = {
    "cGy": (changed(DoseGridScaling=1e-4), "reaches 7158 Gy, expected 200 at most; it may be in cGy"),
    "no scaling": (changed(DoseGridScaling=None), "DoseGridScaling is None"),
    "zero scaling": (changed(DoseGridScaling=0), "DoseGridScaling is 0"),
    "no unit": (changed(DoseUnits=None), "DoseUnits is missing"),
    "a difference": (changed(DoseType="ERROR"), "difference of doses"),
    "offsets of another number of frames": (changed(GridFrameOffsetVector=[0.0, 5.0]), "2 entries, the dose 13 frames"),
    "offsets that are neither kind": (changed(GridFrameOffsetVector=[3.0 + i for i in range(13)]), "begins with 3"),
    "a repeated frame": (repeated_frame, "two frames of the dose lie at one place"),
    "one frame": (one_frame, "at least 2 frames"),
    "below zero": (negative, "falls to -1 Gy"),
    "zero everywhere": (lambda _: Patient().rtdose(values=lambda p: 0 * p[..., 0]), "zero everywhere"),
    "no orientation": (changed(ImageOrientationPatient=None), "the dose cannot be read"),
    "skewed": (changed(ImageOrientationPatient=[1, 0, 0, 0.5, 0.8, 0]), "orientation is"),
    "no pixels": (changed(PixelData=None), "it has no PixelData"),
}


@pytest.mark.promise(4, "a dose in cGy, without scaling or unit, or with contradicting frames is refused")
@pytest.mark.parametrize(("change", "reason"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_dose_in_gy_is_refused(load, change, reason):
    with pytest.raises(DataError, match=reason):
        load(change(Patient().rtdose()))


def test_a_relative_dose_of_neither_kind_and_an_effective_one(load):
    dataset = Patient().rtdose(values=lambda points: dose_at(points) / 5)
    dataset.DoseUnits = "RELATIVE"
    with pytest.raises(DataError, match="neither about 1 nor about 100"):
        load(dataset, prescription_gy=60.0)
    assert "effective dose" in load(changed(DoseType="EFFECTIVE")(Patient().rtdose())).notes[0]
