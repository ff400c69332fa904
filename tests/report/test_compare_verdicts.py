"""What a comparison says of simulated runs: below five seeds nothing about other seeds, from five on what holds."""

import csv
import json
import math

import numpy as np
import pytest
from diagnoses import make_diagnosis

from ctan_monai.report.compare_analysis import analyze
from ctan_monai.report.compare_files import read_comparison
from ctan_monai.report.compare_report import report_comparison
from ctan_monai.report.diagnosis_files import write_diagnosis

CASES = 24
TASKS = [
    {"kind": "Segmentation", "name": "organ", "labels": ["Bladder"]},
    {"kind": "Classification", "name": "grade", "classes": ["low", "high"]},
]


@pytest.fixture
def write(tmp_path):
    """Write a comparison of stl and ctan whose Dice differs by a gain and a spread over seeds."""

    def _write(seeds, gain, spread, missing=0.0):
        random = np.random.default_rng(12)
        folder = tmp_path / f"seeds{seeds}"
        hard, truth = random.normal(0, 0.05, CASES), np.arange(CASES) % 2
        shift = random.normal(0, spread, (2, seeds))
        for row, name in enumerate(("stl", "ctan")):
            for seed in range(seeds):
                dice = 0.7 + hard + row * gain + shift[row, seed] + random.normal(0, 0.01, CASES)
                right = random.random(CASES) < 0.75
                unknown = random.random(CASES) < missing
                write_run(folder / "runs" / name / f"seed{seed}", np.where(unknown, math.nan, dice), right, truth)
        rows = [{"name": name, "method": name, "weighting": None, "preset": None} for name in ("stl", "ctan")]
        plan = {"bundle": "bundles/none", "rows": rows, "seeds": list(range(seeds)), "overrides": [], "threads": 1}
        plan |= {"reference": "stl", "candidate": "ctan", "tasks": TASKS}
        (folder / "compare.json").write_text(json.dumps(plan))
        return folder

    return _write


def write_run(folder, dice, right, truth):
    """Write what a run and its evaluation leave."""
    evaluation = folder / "run" / "evaluation"
    evaluation.mkdir(parents=True)
    for step in ("training", "evaluating"):
        (folder / f"{step}.json").write_text(json.dumps({"seconds": 1.0}))
    scores = [0.5, 0.7, 0.6, 0.8, 0.6, 0.7]
    epochs = [{"epoch": k + 1, "train": {}, "validation": {"selection": s}} for k, s in enumerate(scores)]
    best = {"all": {"epoch": 4, "score": 0.8}}
    (folder / "run" / "metrics.json").write_text(json.dumps({"epochs": epochs, "best": best}))
    (evaluation / "summary.json").write_text(json.dumps({"metrics": {"organ_dice": float(np.nanmean(dice))}}))
    with (evaluation / "per_case.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["case", "organ_dice", "grade_prob_low", "grade_prob_high", "grade_label"])
        for case, (value, known, label) in enumerate(zip(dice, right, truth, strict=True)):
            answer = label if known else 1 - label
            cell = "" if math.isnan(value) else float(value)
            table.writerow([f"case{case}", cell, float(answer == 0), float(answer == 1), int(label)])


def verdicts(summary):
    found = summary["rows"]["ctan"]["against_reference"]
    return {part: entry["verdict"] for part, entry in found.items() if part != "with"}


@pytest.mark.parametrize("seeds", [1, 3, 4])
def test_below_five_seeds_no_row_is_called_better_however_large_the_difference(write, seeds):
    folder = write(seeds, gain=0.1, spread=0.001)
    page = report_comparison(folder).read_text()
    table = (folder / "table.md").read_text()
    assert set(verdicts(json.loads((folder / "summary.json").read_text())).values()) == {"given these seeds"}
    for text in (page, table):
        assert "given these seeds" in text
        assert f"Only {seeds} of the 5 seeds" in text
        assert "better |" not in text
        assert ">better<" not in text


def test_a_gain_that_every_seed_has_is_called_one(write):
    summary = analyze(read_comparison(write(6, gain=0.05, spread=0.005)))
    entry = summary["rows"]["ctan"]["against_reference"]["organ"]
    assert entry["verdict"] == "better"
    assert entry["test"] == "t, cases and seeds"
    assert entry["interval"] == entry["interval_over_seeds"]
    assert summary["intervals_over"] == "cases and seeds"


def test_a_gain_that_lies_within_the_spread_over_seeds_is_not(write):
    """Given these seeds, the cases show it beyond doubt; another five seeds would turn it round."""
    entry = analyze(read_comparison(write(5, gain=0.0, spread=0.05)))["rows"]["ctan"]["against_reference"]["organ"]
    low, high = entry["interval_given_seeds"]
    assert not low <= 0 <= high
    assert entry["verdict"] == "not shown"
    assert entry["needed"]["seeds"] > 5


def test_the_estimate_is_equation_3_of_the_means_also_where_labels_are_missing(write):
    summary = analyze(read_comparison(write(5, gain=0.05, spread=0.01, missing=0.2)))
    ours, theirs = (summary["rows"][name]["tasks"]["organ"]["value"] for name in ("ctan", "stl"))
    entry = summary["rows"]["ctan"]["against_reference"]["organ"]
    assert entry["delta"] == pytest.approx(100 * (ours - theirs) / theirs)
    assert np.mean(entry["by_seed"]) == pytest.approx(entry["delta"])


def test_the_noise_of_the_choice_of_an_epoch_is_shown(write):
    folder = write(2, gain=0.0, spread=0.01)
    report_comparison(folder)
    found = json.loads((folder / "summary.json").read_text())["rows"]["stl"]["runs"]["selection"]["0"]
    assert found["best"] == 0.8
    assert found["last_mean"] == pytest.approx(np.mean([0.7, 0.6, 0.8, 0.6, 0.7]))
    assert found["last_spread"] == pytest.approx(np.std([0.7, 0.6, 0.8, 0.6, 0.7], ddof=1))
    assert "0.8000 of 6 | 0.6800 +- 0.0837 (5)" in (folder / "table.md").read_text()


def test_every_measured_value_is_kept_by_row_seed_and_case(write):
    folder = write(3, gain=0.0, spread=0.01)
    report_comparison(folder)
    with (folder / "per_case.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len({(row["row"], row["seed"], row["case"]) for row in rows}) == 2 * 3 * CASES


def test_diagnosed_runs_get_a_table_over_their_seeds(write):
    folder = write(2, gain=0.1, spread=0.01)
    assert "Does each part act?" not in report_comparison(folder).read_text()
    for seed, cross in enumerate((-0.05, 0.01)):
        write_diagnosis(make_diagnosis(cross), folder / "runs" / "ctan" / f"seed{seed}" / "run" / "diagnosis")
    assert "Does each part act?" in report_comparison(folder).read_text()
    rows = [line for line in (folder / "table.md").read_text().splitlines() if line.startswith("| ctan | other tasks")]
    # Dice by seed -5 [-7, -3] and +1 [-1, +3] points; balanced accuracy +.1 in both
    assert rows == [
        "| ctan | other tasks' features in all tasks | another case's | -2.00 [-5.00, +1.00], worse 1/2 | 0.030 "
        "| +0.10 [+0.10, +0.10], worse 0/2 | 0.010 |"
    ]


def test_rows_with_filter_groups_get_a_table_over_seeds_and_those_that_learn_them_a_figure(write):
    folder = write(2, gain=0.1, spread=0.01)
    page = report_comparison(folder).read_text()
    assert "Filter groups" not in page
    for seed, share in enumerate((0.2, 0.6)):
        path = folder / "runs" / "ctan" / f"seed{seed}" / "run" / "metrics.json"
        found = json.loads(path.read_text())
        for epoch, entropy in ((0, 1.0), (5, 0.5 + share)):
            mean = {"grade": 0.9 - share, "organ": 0.1, "shared": share}
            layer = {"mean": mean, "kernels": {"grade": 3, "organ": 0, "shared": 1}, "entropy": entropy}
            found["epochs"][epoch]["groupings"] = {"conv_0": layer}
        path.write_text(json.dumps(found))
    page = report_comparison(folder).read_text()
    assert "Filter groups" in page
    assert "ctan: groups of filters by layer and over epochs, mean over 2 seeds" in page
    assert (folder / "images" / "groupings-ctan.png").read_bytes().startswith(b"\x89PNG")
    rows = [line for line in (folder / "table.md").read_text().splitlines() if line.startswith("| ctan | conv_0")]
    assert rows == ["| ctan | conv_0 | 0.500 [0.300, 0.700] | 0.400 [0.200, 0.600] | 0.100 [0.100, 0.100] | 0.900 |"]
