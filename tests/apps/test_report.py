"""Pages made again from a folder: what it holds decides which."""

import json

import pytest
from dose_predictions import ANSWERED, box_case, predicted_dose, write_predictions

from ctan_monai.apps.main import app


@pytest.fixture
def run_folder(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    epochs = [{"epoch": 1, "seconds": 1.0, "learning_rate": 0.1, "train": {"loss": 1.0}, "weights": {}}]
    (folder / "metrics.json").write_text(json.dumps({"epochs": epochs, "best": {}}))
    return folder


@pytest.fixture
def predicted_doses(tmp_path):
    return write_predictions(tmp_path, [(box_case(), ANSWERED, predicted_dose(1.0))])


def test_a_run_gets_its_page_again(run, run_folder):
    code, out, err = run(app, "report", run_folder)
    assert (code, out) == (0, f"{run_folder / 'report.html'}\n"), err
    assert "Learning curves" in (run_folder / "report.html").read_text()


def test_a_folder_that_holds_neither_run_nor_predictions_is_refused(run, tmp_path):
    code, _, err = run(app, "report", tmp_path)
    assert code == 2
    assert "predictions (cases.json), run (metrics.json)" in " ".join(err.split())


def test_a_folder_that_is_not_there_is_refused(run, tmp_path):
    code, _, err = run(app, "report", tmp_path / "none")
    assert code == 2
    assert "none" in err


def test_predictions_of_dose_get_pages_with_the_goals_that_were_named(run, predicted_doses, tmp_path):
    goals = tmp_path / "mine.yaml"
    goals.write_text("goals: [{structure: PTV, goal: D50% >= 57 Gy}]")
    code, out, err = run(
        app, "report", predicted_doses, "--goals", goals, "--target", "PTV", "--no-gamma", "--max-cases", 0
    )
    assert (code, out) == (0, f"{predicted_doses / 'report.html'}\n"), err
    text = (predicted_doses / "patients" / "pt_1.html").read_text(encoding="utf-8")
    assert "D50% &gt;= 57 Gy" in text
    assert "PTV" in text
    assert "Gamma was not computed" in text
    assert "cohort.html" in (predicted_doses / "report.html").read_text(encoding="utf-8")


def test_goals_that_cannot_be_read_are_refused_by_their_line(run, predicted_doses, tmp_path):
    goals = tmp_path / "mine.yaml"
    goals.write_text("goals:\n- {structure: PTV, goal: D50}\n")
    code, _, err = run(app, "report", predicted_doses, "--goals", goals)
    assert code == 2
    assert "line 2 (entry 1)" in " ".join(err.split())
