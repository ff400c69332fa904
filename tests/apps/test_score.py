"""`ctan-monai score openkbp`, run as a user runs it."""

import json
import shutil

import pytest

from ctan_monai.apps.main import app


@pytest.fixture
def score(run):
    return lambda *options: run(app, "score", "openkbp", *options)


@pytest.fixture
def folders(golden, tmp_path):
    shutil.copytree(golden / "pred_spill", tmp_path / "mine")
    return [
        "--reference",
        golden / "reference",
        "--prediction",
        tmp_path / "mine",
        "--out",
        tmp_path / "new" / "s.json",
    ]


@pytest.fixture
def out(tmp_path):
    return tmp_path / "new" / "s.json"


def test_the_file_and_the_console_tell_the_official_scores(score, golden, folders, out):
    code, stdout, _ = score(*folders)
    assert code == 0
    official = json.loads((golden / "official_scores.json").read_text())["spill"]
    found = json.loads(out.read_text())
    assert {"dose_score", "dvh_score", "dose_error", "reference_dvh", "prediction_dvh"} == official.keys()
    assert official.keys() <= found.keys()
    assert found["dose_score"] == pytest.approx(official["dose_score"], abs=1e-9)
    assert found["reference_dvh"]["pt_3"]["Larynx:mean"] is None
    assert f"{official['dose_score']:.3f}" in stdout
    assert f"{official['dvh_score']:.3f}" in stdout
    assert "3 of 3 predictions have dose outside possible_dose_mask" in " ".join(stdout.split())
    assert list(out.parent.iterdir()) == [out]  # no temporary file is left


def test_a_missing_prediction_is_an_error_unless_it_is_allowed(score, folders, out, tmp_path):
    (tmp_path / "mine" / "pt_2.csv").rename(tmp_path / "mine" / "pt_[7].csv")
    code, _, stderr = score(*folders)
    assert code == 2
    assert "1 of 3 patients have no prediction: pt_2." in stderr
    assert "--allow-missing" in stderr
    assert not out.exists()

    code, stdout, _ = score(*folders, "--allow-missing")
    assert code == 0
    assert "1 patients without a prediction, left out: pt_2" in stdout
    assert "1 predictions of no patient of the reference, left out: pt_[7]" in stdout
    found = json.loads(out.read_text())
    assert list(found["dose_error"]) == ["pt_1", "pt_3"]
    assert found["patients_without_prediction"] == ["pt_2"]
    assert found["predictions_without_patient"] == ["pt_[7]"]


def test_a_file_that_was_cut_short_is_one_line_and_leaves_the_old_scores(score, folders, out, tmp_path):
    out.parent.mkdir()
    out.write_text("old")
    damaged = tmp_path / "mine" / "pt_3.csv"
    damaged.write_bytes(damaged.read_bytes()[:-3])
    code, _, stderr = score(*folders)
    assert code == 2
    assert f"Error: {damaged} (case pt_3): it ends within a line" in stderr
    assert "Traceback" not in stderr
    assert out.read_text() == "old"


def test_scores_of_a_reference_against_itself_are_zero(score, golden, folders, out):
    folders[3] = golden / "reference"
    assert score(*folders)[0] == 0
    found = json.loads(out.read_text())
    assert (found["dose_score"], found["dvh_score"]) == (0.0, 0.0)


def test_without_a_complete_patient_that_score_is_null(score, folders, out, tmp_path):
    for patient in ("pt_1", "pt_2"):
        (tmp_path / "mine" / f"{patient}.csv").unlink()
    assert score(*folders, "--allow-missing")[0] == 0
    assert json.loads(out.read_text())["complete_cases"] == {"patients": [], "dose_score": None, "dvh_score": None}


def test_help_shows_how_to_call_it(score):
    code, stdout, _ = score("--help")
    assert code == 0
    assert "ctan-monai score openkbp --reference validation-pats --prediction results" in stdout
    assert "--allow-missing" in stdout
