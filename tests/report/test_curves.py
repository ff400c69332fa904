from __future__ import annotations

import json

import pytest

from ctan_monai.errors import DataError
from ctan_monai.report.curves import curves_figure
from ctan_monai.report.run_files import read_history


def _lines(figure):
    found = {}
    for panel in figure.axes:
        if panel.get_visible():
            lines = [line for line in panel.get_lines() if line.get_linestyle() != ":"]
            found[panel.get_title(loc="left")] = {line.get_label(): line for line in lines}
    return found


def test_every_known_number_of_the_history_is_a_point(run_folder):
    lines = _lines(curves_figure(read_history(run_folder)))
    assert list(lines["Training loss, not weighted"]) == ["oar", "dose"]
    assert list(lines["Training loss, not weighted"]["oar"].get_xdata()) == [1, 2, 3]
    assert list(lines["Training loss, not weighted"]["oar"].get_ydata()) == pytest.approx([0.8, 0.4, 0.8 / 3])
    assert list(lines["Weight of each task"]["dose"].get_ydata()) == [0.9, 0.9, 0.9]
    (rate,) = lines["Learning rate"].values()
    assert list(rate.get_ydata()) == pytest.approx([1e-4, 0.5e-4, 1e-4 / 3])
    dice = lines["Validation: oar\noar_dice"]["oar_dice"]
    assert list(dice.get_xdata()) == [1, 3], "only these epochs were validated"
    assert list(dice.get_ydata()) == pytest.approx([0.2, 0.4])
    assert list(lines["Validation: dose\ndose_mae_volume"]["dose_mae_volume"].get_ydata()) == pytest.approx([1.5, 0.9])


def test_metrics_that_are_never_known_or_never_change_have_no_panel(run_folder):
    content = json.loads((run_folder / "metrics.json").read_text())
    content["epochs"][2]["validation"].update(complete_cases=8.0)
    (run_folder / "metrics.json").write_text(json.dumps(content))
    names = {name for panel in _lines(curves_figure(read_history(run_folder))).values() for name in panel}
    assert not names & {"oar_dice_Larynx", "dose_zero_mae_volume", "complete_cases"}


def test_the_best_epoch_is_marked_in_every_panel(run_folder):
    for panel in curves_figure(read_history(run_folder)).axes:
        if panel.get_visible():
            (mark,) = [line for line in panel.get_lines() if line.get_linestyle() == ":"]
            assert set(mark.get_xdata()) == {3}


def test_a_run_of_one_epoch_without_validation_can_be_drawn(tmp_path):
    epoch = {"epoch": 1, "learning_rate": None, "train": {"loss": 0.0}, "weights": {}}
    (tmp_path / "metrics.json").write_text(json.dumps({"best": {}, "epochs": [epoch]}))
    lines = _lines(curves_figure(read_history(tmp_path)))
    assert list(lines["Training loss, not weighted\nloss"]["loss"].get_ydata()) == [0.0]


def test_scores_of_a_data_set_share_a_panel(run_folder):
    content = json.loads((run_folder / "metrics.json").read_text())
    content["epochs"][2]["validation"].update(dose_score=3.0, dvh_score=2.0)
    (run_folder / "metrics.json").write_text(json.dumps(content))
    lines = _lines(curves_figure(read_history(run_folder)))
    assert set(lines["Validation: scores"]) == {"dose_score", "dvh_score"}


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"epochs": []}', '{"epochs": [{"learning_rate": 1}]}'])
def test_a_file_that_is_no_history_is_named(tmp_path, content):
    (tmp_path / "metrics.json").write_text(content)
    with pytest.raises(DataError, match=r"metrics.json.*no history of a run"):
        read_history(tmp_path)


def test_a_folder_without_a_run_is_named(tmp_path):
    with pytest.raises(DataError, match=r"metrics.json: it cannot be read.*Train first"):
        read_history(tmp_path)
