from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt, map_coordinates

from ctan_monai.data.dicom.write import Prescription
from ctan_monai.data.phantom import make_patient


def dose_on_ct(patient):
    """(C, R, K) Gy, nan where the dose's grid does not reach."""
    to_dose = np.linalg.inv(patient.dose_affine_ras) @ patient.affine_ras
    index = np.stack(np.meshgrid(*(np.arange(side) for side in patient.ct_hu.shape), indexing="ij"), 0)
    at = np.tensordot(to_dose[:3, :3], index, (1, 0)) + to_dose[:3, 3].reshape(3, 1, 1, 1)
    return map_coordinates(patient.dose_gy, at, order=1, cval=np.nan)


@pytest.fixture(scope="module")
def doses(patients):
    return [dose_on_ct(patient) for patient in patients]


def test_the_ptv_gets_what_was_prescribed(patients, doses):
    for patient, dose_gy in zip(patients, doses, strict=True):
        inside = dose_gy[patient.mask("PTV")]
        assert inside.mean() == pytest.approx(60, rel=0.02)
        assert np.percentile(inside, 2) > 0.90 * 60
        assert np.nanmax(dose_gy) < 1.07 * 60  # ICRU 83: no hot spot worth the name


def test_the_prescription_scales_the_dose(grid, patient):
    other = make_patient(0, grid, prescription=Prescription(36.25, 5))
    assert np.allclose(other.dose_gy, patient.dose_gy * (36.25 / 60), atol=1e-3)


def test_the_dose_conforms_to_the_ptv(patients, doses):
    for patient, dose_gy in zip(patients, doses, strict=True):
        high = np.nan_to_num(dose_gy) > 0.95 * 60
        target = patient.mask("PTV")
        assert (high & target).sum() > 0.93 * target.sum()
        assert high.sum() < 1.45 * target.sum()


def test_the_rectum_gets_less_the_farther_it_lies_from_the_ptv(patients, doses):
    for patient, dose_gy in zip(patients, doses, strict=True):
        away_mm = distance_transform_edt(~patient.mask("PTV"), np.linalg.norm(patient.affine_ras[:3, :3], axis=0))
        rectum = patient.mask("Rectum") & ~np.isnan(dose_gy)
        shells = [(0.1, 6), (6, 14), (14, 26), (26, 60)]
        means = [dose_gy[rectum & (away_mm >= low) & (away_mm < high)].mean() for low, high in shells]
        assert (np.diff(means) < 0).all(), means
        assert means[0] > 2 * means[-1]


def test_organs_at_risk_get_less_than_other_tissue_as_near_to_the_ptv(patients, doses):
    spared, others = [], []
    for patient, dose_gy in zip(patients, doses, strict=True):
        away_mm = distance_transform_edt(~patient.mask("PTV"), np.linalg.norm(patient.affine_ras[:3, :3], axis=0))
        near = (away_mm > 8) & (away_mm < 16)
        organs = patient.mask("Rectum") | patient.mask("Bladder")
        spared.append(dose_gy[near & organs].mean())
        others.append(dose_gy[near & patient.mask("External") & ~organs].mean())
    assert np.mean(spared) < np.mean(others)


def test_a_fuller_bladder_or_a_larger_prostate_changes_the_dose(patients, doses):
    highs = [np.argwhere(np.nan_to_num(dose) > 30).shape[0] for dose in doses]
    targets = [int(patient.mask("PTV").sum()) for patient in patients]
    assert np.corrcoef(highs, targets)[0, 1] > 0.9


def test_femurs_get_a_bath_and_the_air_nothing(patients, doses):
    for patient, dose_gy in zip(patients, doses, strict=True):
        assert 1 < np.nanmean(dose_gy[patient.mask("Femur_L")]) < 25
        away = distance_transform_edt(~patient.mask("External")) > 3
        assert np.nanmax(dose_gy[away]) == 0


def test_the_grid_of_the_dose_is_its_own_and_ends_before_the_ct(patient, doses):
    assert np.linalg.norm(patient.dose_affine_ras[:3, 0]) == pytest.approx(3.0)
    known = ~np.isnan(doses[0])
    assert known.any(axis=(0, 1)).tolist() == [False, *[True] * 38, False]
    inside = patient.mask("External")[:, :, 1:-1]
    assert known[:, :, 1:-1][inside].all()
