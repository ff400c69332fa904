"""Calibration and risk by coverage on an evaluation's page."""

import csv

import pytest

from ctan_monai.report.risk_section import risk_section
from ctan_monai.tasks import Classification, Regression

GRADE = Classification("grade", ["low", "mid", "high"])
SICK = Classification("sick", ["sick"])
ROWS = [
    # grade's probabilities and label, sick's probability and label
    ("a", 0.9, 0.1, 0.0, 0, 0.8, 1),
    ("b", 0.2, 0.7, 0.1, 2, 0.4, 1),
    ("c", 0.3, 0.1, 0.6, 2, 0.1, 0),
    ("d", 0.3, 0.5, 0.2, 1, 0.3, ""),
]
HEAD = "case,grade_prob_low,grade_prob_mid,grade_prob_high,grade_label,sick_prob_sick,sick_label_sick"


def test_curves_are_those_of_the_cases_by_hand(tmp_path):
    lines = [HEAD, *(",".join(map(str, row)) for row in ROWS)]
    (tmp_path / "per_case.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "summary.json").write_text('{"metrics": {}}')
    section = risk_section(tmp_path, [GRADE, SICK, Regression("dose", "Gy", 80.0)])
    with (tmp_path / "risk_coverage.csv").open(newline="") as file:
        rows = [(row["of"], float(row["coverage"]), float(row["risk"])) for row in csv.DictReader(file)]
    # grade: .9 right, .7 wrong, .6 right, .5 right; sick: .9 right (c), .8 right (a), .6 wrong (b), d is unknown
    assert rows == [
        ("grade", 0.25, 0.0), ("grade", 0.5, 0.5), ("grade", 0.75, pytest.approx(1 / 3)), ("grade", 1.0, 0.25),
        ("sick: sick", pytest.approx(1 / 3), 0.0), ("sick: sick", pytest.approx(2 / 3), 0.0),
        ("sick: sick", 1.0, pytest.approx(1 / 3)),
    ]  # fmt: skip
    (table,) = section.tables
    assert table.rows[0] == ["grade", pytest.approx((0 + 0.5 + 1 / 3 + 0.25) / 4), 0.25, 0.25, 0.25, 0.5]
    assert (tmp_path / "images" / "risk_coverage.png").read_bytes().startswith(b"\x89PNG")


def test_nothing_is_said_where_nothing_was_measured_or_nothing_classifies(tmp_path):
    assert risk_section(tmp_path, [GRADE]) is None
    (tmp_path / "per_case.csv").write_text("case,dose_mae_volume\na,1.0\n")
    (tmp_path / "summary.json").write_text('{"metrics": {}}')
    assert risk_section(tmp_path, [Regression("dose", "Gy", 80.0)]) is None
    assert risk_section(tmp_path, [GRADE]) is None
