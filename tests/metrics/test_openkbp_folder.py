"""Folders of predictions: matched by name, scored as they are, refused where a number would be wrong."""

import json
import logging
import shutil

import pytest

from ctan_monai.errors import DataError
from ctan_monai.metrics.openkbp_folder import match_patients, score_files, scores_as_json


@pytest.fixture
def reference(golden, tmp_path):
    return shutil.copytree(golden / "reference", tmp_path / "reference")


@pytest.fixture
def prediction(golden, tmp_path):
    return shutil.copytree(golden / "pred_spill", tmp_path / "prediction")


@pytest.mark.parametrize("name", ["noisy", "spill"])
def test_the_json_holds_everything_that_the_official_evaluator_says(golden, name):
    matching = match_patients(golden / "reference", golden / f"pred_{name}")
    scores = {patient: score_files(patient, *paths) for patient, paths in matching.pairs.items()}
    found = scores_as_json(scores, matching)
    official = json.loads((golden / "official_scores.json").read_text())[name]
    for key in ("dose_score", "dvh_score", "dose_error"):
        assert found[key] == pytest.approx(official[key], abs=1e-9)
    for key in ("reference_dvh", "prediction_dvh"):
        assert found[key].keys() == official[key].keys()
        for patient, criteria in official[key].items():
            assert found[key][patient] == pytest.approx(criteria, abs=1e-9)
    assert found["complete_cases"]["patients"] == ["pt_1"]
    assert found["complete_cases"]["dose_score"] == found["dose_error"]["pt_1"]


def test_what_spills_out_of_the_mask_is_named(golden):
    paths = golden / "reference" / "pt_1", golden / "pred_spill" / "pt_1.csv"
    assert score_files("pt_1", *paths).outside_mask_gy == pytest.approx(40.0 * 2556 / 8141)  # voxels outside / inside
    noisy = golden / "pred_noisy" / "pt_1.csv"
    assert score_files("pt_1", paths[0], noisy).outside_mask_gy == 0.0


def test_a_folder_per_patient_is_a_prediction_too(golden, reference):
    matching = match_patients(reference, golden / "reference")
    assert list(matching.pairs) == ["pt_1", "pt_2", "pt_3"]
    score = score_files("pt_2", *matching.pairs["pt_2"])
    assert score.patient.dose_error == 0.0


def test_left_overs_of_both_sides_are_named_in_the_order_of_their_numbers(reference, prediction):
    for number in (10, 9):
        shutil.copy(prediction / "pt_1.csv", prediction / f"pt_{number}.csv")
    (prediction / "pt_1.csv").unlink()
    (prediction / ".pt_3.csv").touch()  # hidden, such as a half-written file
    matching = match_patients(reference, prediction)
    assert list(matching.pairs) == ["pt_2", "pt_3"]
    assert matching.without_prediction == ("pt_1",)
    assert matching.without_reference == ("pt_9", "pt_10")


def test_an_empty_structure_counts_as_absent_and_the_log_says_so(reference, prediction, caplog):
    (reference / "pt_1" / "Brainstem.csv").write_text(",data\n")
    with caplog.at_level(logging.WARNING):
        score = score_files("pt_1", reference / "pt_1", prediction / "pt_1.csv")
    assert not score.patient.complete
    assert "Brainstem.csv holds no voxel" in caplog.text


def test_folders_without_patients_or_without_common_names_are_refused(golden, reference, prediction):
    with pytest.raises(DataError, match=r"no folder in it holds a dose\.csv"):
        match_patients(golden, prediction)
    for number in (1, 2, 3):
        (prediction / f"pt_{number}.csv").rename(prediction / f"case{number}.csv")
    with pytest.raises(DataError, match=r"found case1, case2, case3, the reference has pt_1, pt_2, pt_3"):
        match_patients(reference, prediction)


def test_two_predictions_of_one_patient_are_refused(reference, prediction):
    (prediction / "pt_1").mkdir()
    shutil.copy(prediction / "pt_1.csv", prediction / "pt_1" / "dose.csv")
    with pytest.raises(DataError, match=r"both pt_1\.csv and pt_1/dose\.csv"):
        match_patients(reference, prediction)


@pytest.mark.parametrize(
    ("file", "text", "reason"),
    [
        ("prediction/pt_1.csv", ",data\n5,nan\n", "expected a finite number"),
        ("prediction/pt_1.csv", ",data\n5,1.0\n5,2.0\n", "more than once"),
        ("reference/pt_1/possible_dose_mask.csv", ",data\n", "it is empty"),
        ("reference/pt_1/voxel_dimensions.csv", "3.9 3.9", "three positive numbers"),
    ],
)
def test_a_bad_file_is_refused_with_its_patient(reference, prediction, file, text, reason):
    (reference.parent / file).write_text(text)
    with pytest.raises(DataError, match=rf"case pt_1.*{reason}"):
        score_files("pt_1", reference / "pt_1", prediction / "pt_1.csv")
