from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import binary_dilation, binary_erosion, center_of_mass, label

from ctan_monai.data.dicom.write import Prescription
from ctan_monai.data.phantom import STRUCTURES, PhantomGrid, make_patient
from ctan_monai.errors import ConfigError

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def volume_cc(patient, name):
    return float(patient.mask(name).sum() * abs(np.linalg.det(patient.affine_ras)) / 1000)


def center_lps_mm(patient, name):
    return (LPS @ patient.affine_ras @ (*center_of_mass(patient.mask(name)), 1))[:3]


def hu(patient, name, shrink=1):
    mask = patient.mask(name)
    return patient.ct_hu[binary_erosion(mask, iterations=shrink) if shrink else mask]


def test_the_same_seed_gives_the_same_patient(patient, grid):
    again = make_patient(0, grid)
    assert again.ct_hu.tobytes() == patient.ct_hu.tobytes()
    assert again.dose_gy.tobytes() == patient.dose_gy.tobytes()
    assert again.anatomy == patient.anatomy
    assert again.origin_lps_mm == patient.origin_lps_mm


def test_patients_differ_in_size_filling_and_gas(patients):
    for name in ("Bladder", "Prostate", "Rectum", "External", "Femur_L"):
        assert len({round(volume_cc(patient, name), 1) for patient in patients}) == len(patients)
    assert len({patient.anatomy.gas for patient in patients}) > 1


def test_the_anatomy_does_not_depend_on_the_grid(patient):
    finer = make_patient(0, PhantomGrid(rows=150, columns=200, slices=60, row_mm=2.2, column_mm=2.4, slice_mm=2.7))
    assert finer.anatomy == patient.anatomy
    assert volume_cc(finer, "Bladder") == pytest.approx(volume_cc(patient, "Bladder"), rel=0.15)


def test_organs_have_the_sizes_that_organs_have(patients):
    usual_cc = {
        "External": (7_000, 17_000), "Rectum": (25, 180), "Bladder": (50, 520), "Femur_L": (90, 240),
        "Femur_R": (90, 240), "Prostate": (15, 100), "SeminalVes": (2, 25), "CTV": (16, 110), "PTV": (50, 260),
    }  # fmt: skip
    assert set(usual_cc) == set(STRUCTURES)
    for patient in patients:
        for name, (low, high) in usual_cc.items():
            assert low < volume_cc(patient, name) < high, name


def test_every_structure_is_one_piece(patients):
    for patient in patients:
        for name in STRUCTURES:
            _, pieces = label(patient.mask(name), np.ones((3, 3, 3)))
            assert pieces <= (2 if name == "SeminalVes" else 1), name


def test_left_is_left_and_back_is_back(patients):
    for patient in patients:
        middle = center_lps_mm(patient, "Prostate")
        assert center_lps_mm(patient, "Femur_L")[0] > middle[0] + 60  # LPS: x grows to the patient's left
        assert center_lps_mm(patient, "Femur_R")[0] < middle[0] - 60
        assert center_lps_mm(patient, "Rectum")[1] > middle[1] + 15
        assert center_lps_mm(patient, "Bladder")[2] > middle[2] + 15
        assert center_lps_mm(patient, "SeminalVes")[1] > middle[1]


def test_organs_do_not_overlap_and_targets_enclose_each_other(patients):
    for patient in patients:
        masks = {name: patient.mask(name) for name in STRUCTURES}
        organs = ("Rectum", "Bladder", "Femur_L", "Femur_R", "Prostate", "SeminalVes")
        assert sum(masks[name].astype(int) for name in organs).max() == 1
        assert not (masks["Prostate"] & ~masks["CTV"]).any()
        assert not (masks["CTV"] & ~masks["PTV"]).any()
        for name in STRUCTURES:
            assert not (masks[name] & ~masks["External"]).any(), name


def test_hu_are_those_of_tissue(patients):
    for patient in patients:
        assert hu(patient, "Bladder", 2).mean() == pytest.approx(6, abs=12)
        assert hu(patient, "Prostate").mean() == pytest.approx(44, abs=15)
        assert 200 < np.median(hu(patient, "Femur_L")) < 500
        assert np.percentile(hu(patient, "Femur_R", 0), 95) > 600  # cortex
        outside = patient.ct_hu[~binary_dilation(patient.mask("External"), iterations=2)]
        assert np.median(outside) == pytest.approx(-1000, abs=30)
        assert patient.ct_hu.min() >= -1024
        assert patient.ct_hu.max() <= 3071


def test_there_is_fat_muscle_and_noise(patient):
    inside = patient.ct_hu[patient.mask("External")]
    fat, muscle = ((inside > -140) & (inside < -50)).mean(), ((inside > 15) & (inside < 95)).mean()
    assert 0.15 < fat < 0.6
    assert 0.25 < muscle < 0.7
    assert 6 < hu(patient, "Bladder", 2).std() < 30


def test_gas_makes_the_rectum_dark(patients):
    gas = {patient.anatomy.gas: (patient.ct_hu[patient.mask("Rectum")] < -300).mean() for patient in patients}
    assert gas[max(gas)] > gas[min(gas)]
    assert gas[max(gas)] > 0.05


@pytest.mark.parametrize(
    "wrong",
    [
        {"dose_mm": 0.2},
        {"prescription": Prescription(-1, 20)},
        {"prescription": Prescription(60, 0)},
    ],
)
def test_settings_that_make_no_sense_are_refused(grid, wrong):
    with pytest.raises(ConfigError, match="Remedy"):
        make_patient(0, grid, **wrong)


def test_a_grid_too_small_for_a_pelvis_is_refused():
    with pytest.raises(ConfigError, match="at least 90 x 300 x 450 mm"):
        PhantomGrid(rows=64, columns=64, slices=20)


def test_a_short_scan_that_ends_below_the_bowel_will_do():
    grid = PhantomGrid(rows=112, columns=144, slices=24, row_mm=2.9, column_mm=3.3, slice_mm=4.0)
    patient = make_patient(0, grid)
    assert patient.anatomy.bladder_center_mm[2] > patient.ct_axes_mm[0][-1] - 30
    assert patient.mask("Bladder").any()
    assert patient.dose_gy.shape[2] == 22
