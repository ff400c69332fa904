"""However the patient lay and the gantry stood, every voxel is where the formula says."""

import nibabel as nib
import numpy as np
import pytest
from dicom_phantoms import POSITIONS, Patient, dose_at, hu_at

LAYINGS = {
    **{name: {"position": name} for name in POSITIONS},
    "tilted stack": {"tilt_deg": 12},
    "tilted stack, feet first, prone": {"position": "FFP", "tilt_deg": -12},
    "tilted gantry": {"lean_deg": 12},
    "tilted gantry, decubitus": {"position": "HFDR", "lean_deg": -12},
}


@pytest.mark.promise(4, "masks, HU and dose of every patient position and tilt lie where they belong")
@pytest.mark.parametrize("laying", LAYINGS.values(), ids=LAYINGS)
def test_masks_hu_and_dose_follow_from_the_position_alone(read, dice, laying):
    patient = Patient(**laying)
    assert patient.rows != patient.columns
    assert patient.pixel_mm[0] != patient.pixel_mm[1]
    case = read(patient)
    points = patient.points(case.shape, case.affine_ras)

    for name, (shape,) in patient.structures.items():
        assert dice(case.masks[name], shape.inside(points)) >= 0.999, name
    known = case.masks["dose_region"]
    np.testing.assert_allclose(case.volumes["dose"][known], dose_at(points)[known], atol=1e-4)
    organs = case.masks["Bladder"] | case.masks["Rectum"]  # away from the edge, where a leaning stack meets air
    assert known[organs].all()
    assert np.abs(case.volumes["ct"] - hu_at(points))[organs].max() <= 2
    assert case.volumes["ct"].dtype == np.int16
    assert case.meta["patient_position"] == patient.position


@pytest.mark.parametrize("position", POSITIONS)
def test_arrays_run_to_the_back_the_left_and_the_head(read, position):
    case = read(Patient(position=position))
    assert nib.aff2axcodes(case.affine_ras) == ("P", "L", "S")


def test_arrays_stay_as_they_were_scanned_on_request(read):
    patient = Patient(position="FFP")
    case = read(patient, axcodes=None)
    assert nib.aff2axcodes(case.affine_ras) == ("A", "L", "I")
    assert case.shape == (patient.rows, patient.columns, patient.slices)


def test_only_a_tilted_gantry_changes_pixels_and_it_says_so(read):
    case = read(Patient(lean_deg=12))
    assert any("tilted gantry" in note and "12.0 degrees" in note for note in case.meta["notes"])
    columns = case.affine_ras[:3, :3] / case.spacing_mm
    np.testing.assert_allclose(columns.T @ columns, np.eye(3), atol=1e-6)  # rectangular again


def test_another_pixel_size_changes_the_grid_not_the_anatomy(read, dice):
    patient = Patient()
    case = read(patient, pixel_mm=3.0)
    assert case.spacing_mm == pytest.approx((3.0, 3.0, 2.5))
    points = patient.points(case.shape, case.affine_ras)
    for name, (shape,) in patient.structures.items():
        assert dice(case.masks[name], shape.inside(points)) >= 0.999, name  # filled on the new grid itself
    known = case.masks["dose_region"]
    np.testing.assert_allclose(case.volumes["dose"][known], dose_at(points)[known], atol=1e-4)
