"""Conformal intervals of new cases' doses in contours that the network draws, from cases worked out by hand."""

import csv

import numpy as np
import pytest
from dose_predictions import BLADDER, RECTUM, box_case, predicted_dose, write_predictions

from ctan_monai.report.answered_doses import answered_doses, read_answered_doses, write_answered_doses
from ctan_monai.report.conformal_section import dose_bounds, new_cases_section


def validated(tmp_path, factors, empty=()):
    """Write a run whose validation cases were answered with the planned dose times each factor."""
    run = tmp_path / "run"
    cases = [
        (
            box_case(f"pt_{number}"),
            {"Bladder": BLADDER, "Rectum": np.zeros_like(RECTUM) if number in empty else RECTUM},
            predicted_dose(factor=factor),
        )
        for number, factor in enumerate(factors)
    ]
    folder = write_predictions(run, cases).rename(run / "evaluation_validation")
    (run / "model.pt").write_bytes(b"")
    (folder / "per_case.csv").write_text("case\n" + "".join(f"pt_{n}\n" for n in range(len(factors))))
    (folder / "summary.json").write_text('{"metrics": {}}')
    write_answered_doses(folder)
    return run, folder


def test_an_interval_is_as_wide_as_the_validation_cases_were_wrong(tmp_path):
    run, folder = validated(tmp_path, [1 + n / 100 for n in range(9)], empty=(3,))
    found = read_answered_doses(folder)
    # 6 of the bladder's 8 slices lie in the target: 60 and 20 Gy
    assert found["pt_8"]["Bladder:Dmean"] == pytest.approx((1.08 * 50, 50))
    assert np.isnan(found["pt_3"]["Rectum:Dmean"][0])
    assert found["pt_3"]["Rectum:Dmean"][1] == pytest.approx(20)
    new = write_predictions(
        tmp_path / "out", [(box_case("new", planned=False), {"Bladder": BLADDER, "Rectum": RECTUM}, predicted_dose())]
    )
    section = new_cases_section(new, run)
    (table,) = section.tables
    assert table.rows[0] == ["new", "Bladder:Dmean", 46.0, 50.0, 54.0, "9"]  # the ninth of nine errors is 4 Gy
    assert {row[1].split(":")[0] for row in table.rows} == {"Bladder"}, "a rectum that was not found has no bound"
    assert "without intervals: 5" in section.paragraphs[-1]
    with (new / "conformal.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [rows[0][name] for name in ("case", "of", "level", "low", "value", "high")] == [
        "new", "Bladder:Dmean", "0.9", "46.0", "50.0", "54.0",
    ]  # fmt: skip


def test_with_few_validation_cases_no_interval_is_claimed(tmp_path):
    run, _ = validated(tmp_path, [1.0, 1.1])
    new = write_predictions(
        tmp_path / "out", [(box_case("new"), {"Bladder": BLADDER, "Rectum": RECTUM}, predicted_dose())]
    )
    section = new_cases_section(new, run)
    assert not section.tables
    assert "without intervals: 10. 90 % take 9 validation cases" in section.paragraphs[0]
    assert not (new / "conformal.csv").exists()
    assert answered_doses(new)["new"]["Bladder:Dmean"] == pytest.approx((50, 50))


def test_coverage_over_2000_simulated_splits_is_what_is_said_also_where_nothing_was_found():
    """Draws of 60 validation cases and 200 new ones: skewed errors, and one structure in 20 that is not found."""
    random = np.random.default_rng(7)
    held = []
    for _ in range(2000):
        planned = random.uniform(10, 50, 260)
        answered = planned + random.standard_t(3, 260) * random.lognormal(0, 1, 260)
        answered[random.random(260) < 0.05] = np.nan
        known = {f"v{n}": {"A:Dmean": (float(answered[n]), float(planned[n]))} for n in range(60)}
        ((bound, count),) = dose_bounds(known).values()
        held.append(np.mean(abs(answered - planned)[60:] <= bound))
        assert count == 60
    assert 0.88 <= np.mean(held) <= 0.92
