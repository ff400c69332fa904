"""The official evaluator's own numbers, and the cases in which it stops."""

import json
import math

import numpy as np
import pandas as pd
import pytest

from ctan_monai.errors import DataError
from ctan_monai.metrics.openkbp_official import (
    COMPLETE,
    CRITERIA,
    PatientScore,
    dose_error_gy,
    dose_score,
    dvh_criteria,
    dvh_score,
    score_patient,
)

SIZE = 128**3
TINY = 1e-9  # Gy


def dense(path):
    """Read a sparse file with pandas alone: dose in double precision, or a mask."""
    table = pd.read_csv(path, index_col=0)
    flat = np.zeros(SIZE)
    flat[table.index] = table["data"].fillna(1.0)
    return flat


def scored(golden, name):
    patients = {}
    for folder in sorted((golden / "reference").iterdir()):
        masks = {path.stem: dense(path) > 0 for path in folder.glob("[A-Z]*.csv")}
        patients[folder.name] = score_patient(
            dense(folder / "dose.csv"),
            dense(golden / f"pred_{name}" / f"{folder.name}.csv"),
            dense(folder / "possible_dose_mask.csv") > 0,
            masks,
            math.prod(np.loadtxt(folder / "voxel_dimensions.csv")),
        )
    return patients


@pytest.mark.parametrize("name", ["noisy", "spill"])
def test_scores_equal_the_official_evaluators(golden, name):
    official = json.loads((golden / "official_scores.json").read_text())[name]
    patients = scored(golden, name)
    assert dose_score(patients.values()) == pytest.approx(official["dose_score"], abs=TINY)
    assert dvh_score(patients.values()) == pytest.approx(official["dvh_score"], abs=TINY)
    assert {p: s.dose_error for p, s in patients.items()} == pytest.approx(official["dose_error"], abs=TINY)
    for which, attribute in (("reference_dvh", "reference"), ("prediction_dvh", "prediction")):
        for patient, score in patients.items():
            expected = {k: math.nan if v is None else v for k, v in official[which][patient].items()}
            assert list(expected) == list(CRITERIA)
            assert getattr(score, attribute) == pytest.approx(expected, abs=TINY, nan_ok=True)


def box(value=0.0):
    return np.full((10, 10, 10), value)


def test_the_dose_error_sums_over_the_volume_and_divides_by_the_mask():
    mask = box().astype(bool)
    mask[:2, :2, :1] = True  # 4 voxels
    prediction = box()
    prediction[0, 0, 0], prediction[9, 9, 9] = 3.0, 5.0  # the second spills out of the mask
    assert dose_error_gy(box(), prediction, mask) == (3.0 + 5.0) / 4


def test_scores_scale_with_the_dose_and_do_not_care_for_the_voxels_order():
    rng = np.random.default_rng(0)
    reference, prediction = rng.random((2, 10, 10, 10)) * 70
    masks = {"Larynx": rng.random((10, 10, 10)) < 0.3, "PTV70": rng.random((10, 10, 10)) < 0.1}
    region, order = rng.random((10, 10, 10)) < 0.5, rng.permutation(1000)
    score = score_patient(reference, prediction, region, masks, 30.0)

    def shuffled(array):
        return array.ravel()[order]

    permuted = {name: shuffled(mask) for name, mask in masks.items()}
    same = score_patient(shuffled(reference), shuffled(prediction), shuffled(region), permuted, 30.0)
    doubled = score_patient(2 * reference, 2 * prediction, region, masks, 30.0)
    assert same.dose_error == pytest.approx(score.dose_error, rel=1e-12)
    assert dvh_score([same]) == pytest.approx(dvh_score([score]), rel=1e-12)
    assert doubled.dose_error == pytest.approx(2 * score.dose_error, rel=1e-12)
    assert dvh_score([doubled]) == pytest.approx(2 * dvh_score([score]), rel=1e-12)


def test_a_perfect_prediction_scores_zero():
    rng = np.random.default_rng(0)
    dose, mask = rng.random((10, 10, 10)), rng.random((10, 10, 10)) < 0.3
    score = score_patient(dose, dose, mask, {"Mandible": mask}, 30.0)
    assert (score.dose_error, dvh_score([score])) == (0.0, 0.0)


def test_a_structure_smaller_than_a_tenth_of_a_cc_takes_its_lowest_dose():
    dose, organ = np.arange(1000.0).reshape(10, 10, 10), box().astype(bool)
    organ.ravel()[[7, 8]] = True  # 2 voxels of 10 mm3, while 0.1 cc are 10 voxels: the official code raises here
    with pytest.raises(ValueError, match="range"):
        np.percentile([7.0, 8.0], 100 - 10 / 2 * 100)
    assert dvh_criteria(dose, {"Larynx": organ}, 10.0)["Larynx:D_0.1_cc"] == 7.0


def test_a_patient_without_any_structure_has_a_dose_error_and_counts_in_no_criterion():
    alone = score_patient(box(), box(1.0), box(1.0), {}, 30.0)
    assert alone.dose_error == 1.0
    assert all(math.isnan(value) for value in alone.reference.values())
    assert math.isnan(dvh_score([alone]))
    other = score_patient(box(), box(3.0), box(1.0), {"PTV70": box(1.0) > 0}, 30.0)
    assert (dose_score([alone, other]), dvh_score([alone, other])) == (2.0, 3.0)


def test_an_empty_structure_is_one_that_the_patient_does_not_have_and_strangers_are_ignored():
    found = dvh_criteria(box(5.0), {"Larynx": box() > 0, "Tongue": box(1.0) > 0, "PTV63": box(1.0) > 0}, 30.0)
    known = {key: value for key, value in found.items() if not math.isnan(value)}
    assert known == {"PTV63:D_99": 5.0, "PTV63:D_95": 5.0, "PTV63:D_1": 5.0}


def test_complete_patients_have_the_four_organs_of_the_paper():
    organs = {roi: box(1.0) > 0 for roi in COMPLETE}
    assert score_patient(box(), box(), box(1.0), organs, 30.0).complete
    organs.pop("SpinalCord")
    assert not score_patient(box(), box(), box(1.0), organs, 30.0).complete
    assert not PatientScore(math.nan).complete


def test_an_empty_mask_other_shapes_and_nan_are_refused():
    with pytest.raises(DataError, match="empty"):
        dose_error_gy(box(), box(), box())
    with pytest.raises(DataError, match="shapes of reference, prediction and mask"):
        dose_error_gy(box(), box()[:9], box(1.0))
    with pytest.raises(DataError, match="not finite"):
        dose_error_gy(box(), box(math.nan), box(1.0))
