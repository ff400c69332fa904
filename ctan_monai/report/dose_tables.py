"""Tables of the metrics of all patients, as CSV and summarized."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ctan_monai.engines.handlers.case_metrics_writer import case_csv
from ctan_monai.files.json_files import write_text
from ctan_monai.metrics.gamma import Gamma
from ctan_monai.metrics.goals import Goal
from ctan_monai.report.dose_results import DOSE_METRICS, CaseResult

STATISTICS_FILE, GOALS_FILE, GAMMA_FILE = "dose_statistics.csv", "goals.csv", "gamma.csv"


@dataclass(frozen=True)
class Spread:
    """Summary of a number over cases; nan where there are too few.

    Args:
        count: of the cases in which it is known.
        mean: of them.
        sd: standard deviation (n - 1).
        median: of them.
        quartiles: lower and upper.
        mean_absolute: mean of the absolute values.
    """

    count: int
    mean: float
    sd: float
    median: float
    quartiles: tuple[float, float]
    mean_absolute: float


def spread_of(values: Iterable[float]) -> Spread:
    """Summarize numbers; nan = unknown and is left out.

    >>> spread_of([1.0, 2.0, 4.0, float("nan")]).median
    2.0
    """
    known = np.array([value for value in values if not math.isnan(value)], np.float64)
    if not known.size:
        return Spread(0, math.nan, math.nan, math.nan, (math.nan, math.nan), math.nan)
    low, median, high = (float(part) for part in np.percentile(known, (25, 50, 75)))
    sd = float(known.std(ddof=1)) if known.size > 1 else math.nan
    return Spread(known.size, float(known.mean()), sd, median, (low, high), float(np.abs(known).mean()))


@dataclass(frozen=True)
class Agreement:
    """Counts of agreement between plan and prediction on a goal.

    Args:
        goal: the goal.
        both_met: cases in which both meet it.
        both_missed: in which neither does.
        only_plan: in which the plan does and the prediction does not.
        only_prediction: in which the prediction does and the plan does not.
    """

    goal: Goal
    both_met: int
    both_missed: int
    only_plan: int
    only_prediction: int

    @property
    def judged(self) -> int:
        """Number of cases in which both could be evaluated."""
        return self.both_met + self.both_missed + self.only_plan + self.only_prediction


def agreements(results: Sequence[CaseResult]) -> list[Agreement]:
    """Count agreement of plan and prediction on each goal; goals that cannot be evaluated are left out."""
    found: dict[Goal, list[tuple[bool, bool]]] = {}
    for result in results:
        for each in result.goals:
            answers = found.setdefault(each.goal, [])
            if each.planned.met is not None and each.predicted.met is not None:
                answers.append((each.planned.met, each.predicted.met))
    return [
        Agreement(goal, *(answers.count(pair) for pair in ((True, True), (False, False), (True, False), (False, True))))
        for goal, answers in found.items()
        if answers
    ]


def structure_names(results: Sequence[CaseResult]) -> list[str]:
    """Return the structures of all cases, each once, in order of occurrence."""
    return list(dict.fromkeys(structure.name for result in results for structure in result.structures))


def errors_of(results: Sequence[CaseResult], structure: str, metric: str) -> list[float]:
    """Return predicted - planned of one metric in one structure, Gy, for the cases that have both."""
    found = [each.error(metric) for result in results for each in result.structures if each.name == structure]
    return [error for error in found if not math.isnan(error)]


def dices_of(results: Sequence[CaseResult], structure: str) -> list[float]:
    """Return the Dice of one structure, for the cases in which it is known."""
    found = [each.dice for result in results for each in result.structures if each.name == structure]
    return [dice for dice in found if not math.isnan(dice)]


def write_tables(folder: Path, results: Sequence[CaseResult], gamma: Gamma | None) -> None:
    """Write dose_statistics.csv, and goals.csv and gamma.csv if any; older ones are replaced or removed.

    Raises:
        CheckpointError: a file cannot be written.
    """
    for name, rows in (
        (STATISTICS_FILE, _statistics(results)),
        (GOALS_FILE, _goals(results)),
        (GAMMA_FILE, _gamma(results, gamma)),
    ):
        if rows:
            write_text(case_csv(rows), folder / name)
        else:
            (folder / name).unlink(missing_ok=True)


def _statistics(results: Sequence[CaseResult]) -> list[Mapping[str, Any]]:
    return [
        {
            "case": result.case,
            "structure": each.name,
            "contour": "planned" if each.planned_contour else "predicted",
            "volume_cc": round(each.volume_cc, 3),
            "unknown_dose_percent": round(each.unknown_percent, 3),
            "dice": each.dice,
            "metric": metric.name,
            "planned_gy": math.nan if each.planned is None else each.planned[metric.name],
            "predicted_gy": each.predicted[metric.name],
            "error_gy": each.error(metric.name),
        }
        for result in results
        for each in result.structures
        for metric in DOSE_METRICS
    ]


def _goals(results: Sequence[CaseResult]) -> list[Mapping[str, Any]]:
    return [
        {
            "case": result.case,
            "structure": each.goal.structure,
            "goal": str(each.goal),
            "source": each.goal.source,
            "unit": each.goal.unit_text,
            "planned": each.planned.value,
            "predicted": each.predicted.value,
            "planned_met": _answer(each.planned.met),
            "predicted_met": _answer(each.predicted.met),
            "agree": _answer(each.agree),
            "why_not_judged": each.predicted.reason or each.planned.reason,
        }
        for result in results
        for each in result.goals
    ]


def _gamma(results: Sequence[CaseResult], gamma: Gamma | None) -> list[Mapping[str, Any]]:
    if gamma is None:
        return []
    return [
        {
            "case": result.case,
            "dose_percent": rate.dose_percent,
            "distance_mm": rate.distance_mm,
            "normalization": "global",
            "normalization_gy": rate.normalization_gy,
            "cutoff_percent": gamma.cutoff_percent,
            "pass_percent": rate.percent,
            "interval_95_percent": rate.interval,
            "voxels_examined": rate.points,
            "voxels_above_cutoff": rate.eligible,
        }
        for result in results
        for rate in result.gamma
    ]


def _answer(met: bool | None) -> str | None:
    return None if met is None else "yes" if met else "no"
