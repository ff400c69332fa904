"""Conformal intervals and class sets on an evaluation's page."""

import csv
import os

import pytest

from ctan_monai.engines.predictions.predictions_index import PredictedCase, write_index
from ctan_monai.report.conformal_section import conformal_section, new_cases_section
from ctan_monai.tasks import Classification, Regression

TASKS = [Regression("dose", "Gy", 80.0), Classification("grade", ["low", "high"]), Classification("sick", ["sick"])]
HEAD = (
    "case,PTV:Dmean:reference,PTV:Dmean:prediction,grade_prob_low,grade_prob_high,grade_label,sick_prob_sick,"
    "sick_label_sick"
)


def evaluation(folder, rows):
    folder.mkdir()
    lines = [HEAD, *(",".join(map(str, row)) for row in rows)]
    (folder / "per_case.csv").write_text("\n".join(lines) + "\n")
    (folder / "summary.json").write_text('{"metrics": {}}')


def test_intervals_and_sets_are_those_computed_by_hand(tmp_path):
    nine = [(f"v{n}", 50, 50 + n, 0.9 - n / 20, 0.1 + n / 20, 0, 0.95 - n / 20, 1) for n in range(9)]
    evaluation(tmp_path / "evaluation_validation", nine)  # the ninth of nine scores: 8 Gy, .5 and .45
    evaluation(tmp_path / "evaluation", [("a", 60, 53, 0.7, 0.3, 0, 0.5, 0), ("b", 40, 50, 0.45, 0.55, 1, 0.7, 1),
                                         ("c", "", 5, 0.5, 0.5, "", 0.1, "")])  # fmt: skip
    section = conformal_section(tmp_path / "evaluation", TASKS)
    (table,) = section.tables
    assert table.rows == [
        ["PTV:Dmean", "9", 8.0, "", "2", 50.0],
        ["grade", "9", "", pytest.approx((1 + 1 + 2) / 3), "2", 100.0],
        ["sick: sick", "9", "", pytest.approx((0 + 1 + 1) / 3), "2", 50.0],
    ]
    with (tmp_path / "evaluation" / "conformal.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["case"], row["low"], row["high"]) for row in rows[:3]] == [
        ("a", "45.0", "61.0"), ("b", "42.0", "58.0"), ("c", "0.0", "13.0"),
    ]  # fmt: skip
    assert [row["set"] for row in rows[3:]] == ["low", "high", "low | high", "none", "yes", "no"]


def test_without_validation_cases_or_with_too_few_nothing_is_claimed(tmp_path):
    rows = [("a", 60, 53, 0.7, 0.3, 0, 0.5, 0)]
    evaluation(tmp_path / "evaluation", rows)
    assert conformal_section(tmp_path / "evaluation", TASKS) is None
    evaluation(tmp_path / "evaluation_validation", rows)
    section = conformal_section(tmp_path / "evaluation", TASKS)
    assert "without intervals: 1. 90 % take 9 validation cases" in section.paragraphs[-1]
    assert [row[0] for row in section.tables[0].rows] == ["grade", "sick: sick"]
    with (tmp_path / "evaluation" / "conformal.csv").open(newline="") as file:
        assert {row["set"] for row in csv.DictReader(file)} == {"low | high", "no | yes"}
    (tmp_path / "evaluation" / "conformal.csv").unlink()
    only_dose = conformal_section(tmp_path / "evaluation", TASKS[:1])
    assert (len(only_dose.paragraphs), only_dose.tables) == (1, [])
    assert not (tmp_path / "evaluation" / "conformal.csv").exists()


def test_new_cases_get_the_sets_that_the_runs_validation_cases_ask_for(tmp_path, caplog):
    run, out = tmp_path / "run", tmp_path / "out"
    run.mkdir()
    (run / "model.pt").write_bytes(b"")
    nine = [(f"v{n}", 50, 50 + n, 0.9 - n / 20, 0.1 + n / 20, 0, 0.95 - n / 20, 1) for n in range(9)]
    out.mkdir()
    cases = [
        PredictedCase(name, None, {}, {"grade": {"low": low, "high": 1 - low}, "sick": {"sick": sick}})
        for name, low, sick in (("a", 0.7, 0.5), ("b", 0.5, 0.7), ("c", 0.45, 0.1))
    ]
    write_index(out, TASKS, cases)
    assert new_cases_section(out, run) is None
    evaluation(run / "evaluation_validation", nine)  # the ninth of nine scores: .5 and .45
    (table,) = new_cases_section(out, run).tables
    assert table.head == ("case", "grade, from 9 validation cases", "sick: sick, from 9 validation cases")
    assert table.rows == [["a", "low", "none"], ["b", "low | high", "yes"], ["c", "high", "no"]]
    with (out / "conformal.csv").open(newline="") as file:
        assert {(row["case"], row["set"]) for row in csv.DictReader(file) if row["of"] == "grade"} == {
            ("a", "low"), ("b", "low | high"), ("c", "high"),
        }  # fmt: skip
    assert new_cases_section(out, [run, tmp_path]) is None  # of an ensemble's answers these cases say nothing
    assert not (out / "conformal.csv").exists()
    (out / "spread.csv").write_text("case")  # nor of a mean with mirror images
    assert new_cases_section(out, run) is None
    (out / "spread.csv").unlink()
    os.utime(run / "model.pt", (2e9, 2e9))
    assert new_cases_section(out, run) is None
    assert "older than the weights" in caplog.text
