from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import binary_erosion

from ctan_monai.data.phantom import PhantomGrid, make_patient
from ctan_monai.data.phantom.organs import whole
from ctan_monai.data.phantom.patient import draw_body_of

GRID = PhantomGrid(rows=112, columns=144, slices=40, row_mm=2.9, column_mm=3.3, slice_mm=4.0)


@pytest.fixture(scope="module")
def pelvis():
    return draw_body_of(0, GRID)


@pytest.fixture(scope="module")
def mr(pelvis):
    return pelvis.t2_weighted()


def inside(pelvis, name):
    return binary_erosion(whole(pelvis.surfaces[name], GRID))


def test_the_mr_shows_the_patient_whose_ct_make_patient_makes(patient, pelvis):
    assert np.array_equal(pelvis.scan().transpose(2, 1, 0), patient.ct_hu)


def test_urine_is_brighter_than_the_gland_and_that_than_muscle(pelvis, mr):
    ideal = pelvis.canvas.ct_hu
    muscle = inside(pelvis, "External") & (abs(ideal - 52) < 8)
    urine, gland = (np.median(mr[inside(pelvis, name)]) for name in ("Bladder", "Prostate"))
    assert urine > 1.3 * gland > 1.5 * np.median(mr[muscle])


def test_bone_without_signal_is_bright_in_ct(pelvis, mr):
    cortex = pelvis.canvas.ct_hu > 1000
    assert np.median(mr[cortex]) < 0.3 * np.median(mr[inside(pelvis, "External")])


def test_the_noise_of_air_is_that_of_a_magnitude(pelvis, mr):
    air = mr[:, :8].astype(float)  # rows in front of the patient
    assert air.mean() / air.std() == pytest.approx(np.sqrt(np.pi / (4 - np.pi)), rel=0.05)  # Rayleigh


def test_the_coils_see_some_parts_brighter_than_others(pelvis, mr):
    fat = inside(pelvis, "External") & (abs(pelvis.canvas.ct_hu + 98) < 10)
    right, left = np.array_split(np.where(fat, mr.astype(float), np.nan), 2, axis=2)
    assert abs(np.nanmedian(right) / np.nanmedian(left) - 1) > 0.005


def test_another_seed_draws_another_image():
    assert not np.array_equal(draw_body_of(1, GRID).t2_weighted(), draw_body_of(2, GRID).t2_weighted())
    assert make_patient(1, GRID).anatomy == draw_body_of(1, GRID).anatomy
