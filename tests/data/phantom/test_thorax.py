"""The synthetic thorax: organs where and as large as organs are, and a dose that follows the breast."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import binary_erosion, center_of_mass, label

from ctan_monai.data.phantom import PhantomGrid, make_patient
from ctan_monai.data.phantom.patient import SITES
from ctan_monai.errors import ConfigError

GRID = PhantomGrid(
    rows=110, columns=150, slices=34, row_mm=3.0, column_mm=3.0, slice_mm=5.0, region="thorax", others=("Parotid_L",)
)
USUAL_CC = {
    "External": (8_000, 16_000), "Heart": (400, 900), "Lung_L": (1_000, 3_000), "Lung_R": (1_200, 3_500),
    "SpinalCord": (8, 30), "Esophagus": (15, 60), "Trachea": (8, 40), "Breast_L": (150, 700), "CTV": (100, 600),
    "PTV": (200, 900), "Parotid_L": (4, 40),
}  # fmt: skip


@pytest.fixture(scope="module")
def patients():
    return [make_patient((0, number), GRID) for number in (1, 2)]


def hu(patient, name):
    return patient.ct_hu[binary_erosion(patient.mask(name))].astype(float)


def test_organs_have_the_sizes_that_organs_have_and_are_one_piece(patients):
    assert set(USUAL_CC) == {*SITES["thorax"].structures, "Parotid_L"}
    for patient in patients:
        for name, (low, high) in USUAL_CC.items():
            mask = patient.mask(name)
            assert low < mask.sum() * 45 / 1000 < high, name
            pieces, count = label(mask)
            assert np.bincount(pieces.ravel())[1:].max() > 0.97 * mask.sum(), (name, count)
    assert patients[0].anatomy != patients[1].anatomy


def test_left_is_left_and_no_two_organs_overlap(patients):
    for patient in patients:
        x_mm = {name: -(patient.affine_ras @ (*center_of_mass(patient.mask(name)), 1))[0] for name in USUAL_CC}
        middle = x_mm["SpinalCord"]
        for name in ("Lung_L", "Breast_L", "Heart", "Parotid_L", "PTV"):
            assert x_mm[name] > middle + 10, name
        assert x_mm["Lung_R"] < middle - 50
        organs = ("Heart", "Lung_L", "Lung_R", "SpinalCord", "Esophagus", "Trachea", "Breast_L")
        assert sum(patient.mask(name).astype(int) for name in organs).max() == 1


def test_tissues_look_like_themselves(patients):
    for patient in patients:
        assert -850 < np.median(hu(patient, "Lung_R")) < -700
        assert np.median(hu(patient, "Heart")) == pytest.approx(45, abs=10)
        assert -110 < np.median(hu(patient, "Breast_L")) < 40
        assert np.median(hu(patient, "Trachea")) < -850


def test_the_targets_lie_in_each_other_below_the_skin_and_get_the_dose(patients):
    for patient in patients:
        ctv, ptv = patient.mask("CTV"), patient.mask("PTV")
        assert not (ctv & ~ptv).any()
        assert not (ptv & ~patient.mask("External")).any()
        assert patient.prescription == SITES["thorax"].prescriptions[0]
        assert 50 < patient.dose_gy.max() < 56
        dose_voxel_cc = abs(np.linalg.det(patient.dose_affine_ras)) / 1000
        hot_cc = (patient.dose_gy > 0.95 * 50).sum() * dose_voxel_cc
        assert 0.8 < hot_cc / (ptv.sum() * 0.045) < 1.3  # 95 % of the prescription: about the PTV


def test_an_unknown_region_is_refused():
    with pytest.raises(ConfigError, match="'head' is unknown"):
        PhantomGrid(region="head")


def test_a_pelvis_is_written_down_as_before_there_were_other_regions():
    assert set(PhantomGrid().to_json()) == {"rows", "columns", "slices", "row_mm", "column_mm", "slice_mm"}
    assert PhantomGrid(others=("Liver",)).to_json()["others"] == ("Liver",)
