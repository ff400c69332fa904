import csv
import json
import math

import pytest
from engine_kit import TASKS, SmallNetwork, make_evaluator, make_loader

from ctan_monai.engines import MultiTaskMetrics, WriteCaseMetrics
from ctan_monai.engines.handlers.case_metrics_writer import case_csv
from ctan_monai.errors import ConfigError

ROWS = [
    {"case": "pt_2", "oar_dice": 0.25, "dose_mae": math.nan, "complete": 0.0},
    {"case": "pt_10", "oar_dice": 0.5, "dose_mae": -1.0, "complete": 1.0},
]


def read(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("order", [1, -1])
def test_an_evaluation_leaves_a_row_per_case_and_a_summary_wherever_the_handler_stands(tmp_path, order):
    handlers = [MultiTaskMetrics(TASKS), WriteCaseMetrics(tmp_path)][::order]
    evaluator = make_evaluator(SmallNetwork(), make_loader(3), *handlers)
    evaluator.run()
    rows, summary = read(tmp_path / "per_case.csv"), json.loads((tmp_path / "summary.json").read_text())
    assert [row["case"] for row in rows] == ["pt_0", "pt_1", "pt_2"]
    assert summary["cases"] == 3
    assert summary["metrics"]["oar_dice"] == pytest.approx(sum(float(row["oar_dice"]) for row in rows) / 3)
    assert summary["metrics"]["selection"] == evaluator.state.metrics["selection"]


def test_what_is_unknown_is_an_empty_cell_and_null_and_the_known_are_counted(tmp_path):
    WriteCaseMetrics(tmp_path, prefix="test_").write(ROWS, {"oar_dice": 0.375, "dose_dvh": math.nan})
    assert read(tmp_path / "test_per_case.csv")[0] == {
        "case": "pt_2",
        "oar_dice": "0.25",
        "dose_mae": "",
        "complete": "0.0",
    }
    assert json.loads((tmp_path / "test_summary.json").read_text()) == {
        "cases": 2,
        "known_cases": {"oar_dice": 2, "dose_mae": 1, "complete": 2},
        "metrics": {"oar_dice": 0.375, "dose_dvh": None},
        "means_over_complete_cases": {"oar_dice": 0.5, "dose_mae": -1.0},
    }


def test_numbers_of_classes_are_not_averaged(tmp_path):
    row = {"case": "a", "grade_prob_low": 0.2, "grade_prob_high": 0.8, "grade_label": 1.0, "oar_dice": 0.5}
    WriteCaseMetrics(tmp_path).write([{**row, "complete": 1}], {})
    assert json.loads((tmp_path / "summary.json").read_text())["means_over_complete_cases"] == {"oar_dice": 0.5}


@pytest.mark.promise(6, "no cell of the table of metrics can be taken for a formula")
def test_no_cell_can_be_taken_for_a_formula_and_negative_numbers_stay_numbers():
    text = case_csv([{"case": "=HYPERLINK(1)", "@sum": -1.5}, {"case": "-pt", "@sum": 2}])
    assert text.splitlines() == ["case,'@sum", "'=HYPERLINK(1),-1.5", "'-pt,2"]


def test_a_row_may_lack_what_another_has():
    assert case_csv([{"case": "a"}, {"case": "b", "x": 1.0}]) == "case,x\na,\nb,1.0\n"


def test_without_metrics_it_says_what_is_missing(tmp_path):
    with pytest.raises(ConfigError, match="MultiTaskMetrics"):
        make_evaluator(SmallNetwork(), make_loader(1), WriteCaseMetrics(tmp_path)).run()
