"""The section of an evaluation's page on whether its classifications are calibrated, and which of them are safest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ctan_monai.engines.handlers.case_metrics_writer import PER_CASE_FILE, case_csv
from ctan_monai.files.json_files import write_text
from ctan_monai.metrics.selective import Floats, area_under_risk, risk_coverage
from ctan_monai.report.canvas import GRID, TEXT, finish_panel, line_color, new_figure, save_figure
from ctan_monai.report.evaluated import Evaluated, read_evaluated
from ctan_monai.report.html import Section, Table
from ctan_monai.tasks import Task

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RISK_FILE, RISK_IMAGE = "risk_coverage.csv", "images/risk_coverage.png"
_BINS = 10
_COVERAGES = (1.0, 0.9, 0.8, 0.5)
_WORDS = (
    "Confidence is the probability of the answer that was given. Left: where it is calibrated, the fraction of right"
    " answers is as large as the confidence (bins of equal width with their numbers of cases). Right: the fraction of"
    " wrong answers among the most confident cases, if the others are left to somebody else; AURC is its mean over all"
    " coverages, lower is better, and a confidence that says nothing has the error rate of all cases."
)


def risk_section(folder: Path, tasks: Sequence[Task]) -> Section | None:
    """Draw calibration and risk-coverage curves of an evaluation's classifications, and write ``risk_coverage.csv``.

    Args:
        folder: with per_case.csv.
        tasks: that were measured.

    Returns:
        The section; None where nothing was measured or nothing classifies.

    Raises:
        DataError: per_case.csv cannot be read, or a file cannot be written.
    """
    if not (folder / PER_CASE_FILE).is_file() or not any(task.classifies for task in tasks):
        return None
    found = list(_answers(read_evaluated(folder), tasks))
    if not found:
        return None
    curves = {name: risk_coverage(confidence, wrong) for name, confidence, wrong in found}
    rows = [
        {"of": name, "coverage": float(c), "risk": float(r)}
        for name, curve in curves.items()
        for c, r in zip(*curve, strict=True)
    ]
    write_text(case_csv(rows), folder / RISK_FILE)
    image = save_figure(_figure(found, curves), folder / RISK_IMAGE)
    head = ("of", "AURC", *(f"wrong at {100 * part:.0f} % coverage" for part in _COVERAGES))
    table = [
        [name, area_under_risk(*curve), *(_at(curve, part) for part in _COVERAGES)] for name, curve in curves.items()
    ]
    return Section("Calibration and risk", [_WORDS], [Table(head, table)], [(image, "calibration; risk by coverage")])


def _answers(evaluated: Evaluated, tasks: Sequence[Task]) -> Iterator[tuple[str, Floats, Floats]]:
    """Yield name, confidence (n,) and 1 for wrong answers (n,) of each classification with known cases."""
    for task in tasks:
        columns = [f"{task.name}_prob_{name}" for name in task.answer_names]
        if not task.classifies or not all(column in evaluated.columns for column in columns):
            continue
        probs = np.stack([evaluated.columns[column] for column in columns], 1)  # (n, K)
        if task.exclusive:
            label = evaluated.columns[f"{task.name}_label"]
            known = ~np.isnan(label)
            yield task.name, probs[known].max(1), (probs[known].argmax(1) != label[known]).astype(np.float64)
            continue
        for name, prob in zip(task.answer_names, probs.T, strict=True):
            label = evaluated.columns[f"{task.name}_label_{name}"]
            known = ~np.isnan(label)
            wrong = (prob[known] >= 0.5) != (label[known] > 0.5)
            yield f"{task.name}: {name}", np.maximum(prob, 1 - prob)[known], wrong.astype(np.float64)


def _at(curve: tuple[Floats, Floats], part: float) -> float | None:
    """Return the risk of at least a fraction of the cases."""
    coverage, risk = curve
    enough = np.flatnonzero(coverage >= part - 1e-9)
    return float(risk[enough[0]]) if len(enough) else None


def _figure(found: Sequence[tuple[str, Floats, Floats]], curves: dict[str, tuple[Floats, Floats]]) -> Figure:
    figure = new_figure(9.2, 3.8)
    left, right = figure.subplots(1, 2)
    left.plot([0, 1], [0, 1], color=GRID, linewidth=1.5)
    for index, (name, confidence, wrong) in enumerate(found):
        color = line_color(index)
        places, right_share, counts = _bins(confidence, wrong)
        left.plot(places, right_share, "o-", color=color, label=name, markersize=4)
        for place, share, count in zip(places, right_share, counts, strict=True):
            left.annotate(
                str(count), (place, share), fontsize=7, color=color, xytext=(3, -9), textcoords="offset points"
            )
        right.step(*curves[name], where="pre", color=color, label=name)
    _finish(left, "Calibration", "confidence", "fraction of right answers")
    _finish(right, "Risk and coverage", "fraction of cases that are answered", "fraction of wrong answers")
    left.legend(fontsize=8)
    return figure


def _bins(confidence: Floats, wrong: Floats) -> tuple[Floats, Floats, list[int]]:
    """Return mean confidence, fraction of right answers and number of cases of the bins that have some."""
    places = np.clip(np.ceil(confidence * _BINS).astype(int) - 1, 0, _BINS - 1)
    used = [place for place in range(_BINS) if (places == place).any()]
    means = np.array([confidence[places == place].mean() for place in used])
    shares = np.array([1 - wrong[places == place].mean() for place in used])
    return means, shares, [int((places == place).sum()) for place in used]


def _finish(panel: Any, title: str, below: str, beside: str) -> None:
    finish_panel(panel, title, below)
    panel.set_ylabel(beside, fontsize=9, color=TEXT)
    panel.set_xlim(0, 1.02)
    panel.set_ylim(-0.02, 1.05)
