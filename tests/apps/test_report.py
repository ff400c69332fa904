"""Pages made again from a folder: what it holds decides which."""

import json

import pytest

from ctan_monai.apps.main import app


@pytest.fixture
def run_folder(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    epochs = [{"epoch": 1, "seconds": 1.0, "learning_rate": 0.1, "train": {"loss": 1.0}, "weights": {}}]
    (folder / "metrics.json").write_text(json.dumps({"epochs": epochs, "best": {}}))
    return folder


def test_a_run_gets_its_page_again(run, run_folder):
    code, out, err = run(app, "report", run_folder)
    assert (code, out) == (0, f"{run_folder / 'report.html'}\n"), err
    assert "Learning curves" in (run_folder / "report.html").read_text()


def test_a_folder_that_holds_neither_run_nor_predictions_is_refused(run, tmp_path):
    code, _, err = run(app, "report", tmp_path)
    assert code == 2
    assert "it holds none of: predictions (cases.json), run (metrics.json)" in " ".join(err.split())


def test_a_folder_that_is_not_there_is_refused(run, tmp_path):
    code, _, err = run(app, "report", tmp_path / "none")
    assert code == 2
    assert "none" in err
