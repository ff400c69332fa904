"""Results of an evaluation, and those of all folds of a cross-validation pooled."""

from __future__ import annotations

import csv
import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ctan_monai.engines.handlers.case_metrics_writer import PER_CASE_FILE, SUMMARY_FILE
from ctan_monai.errors import DataError
from ctan_monai.metrics.base import COMPLETE, known_mean, natural_order
from ctan_monai.metrics.main_metric import MainMetric, main_metric_for
from ctan_monai.tasks import Task

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Evaluated:
    """Results of an evaluation, or of several that are pooled.

    Args:
        folders: of each case's evaluation, in the order of the cases.
        cases: ids, in their natural order.
        columns: of per_case.csv, (N,) each; nan = unknown.
        metrics: of summary.json.
    """

    folders: tuple[Path, ...]
    cases: tuple[str, ...]
    columns: Mapping[str, Floats]
    metrics: Mapping[str, float]

    def values(self, metric: MainMetric) -> Floats:
        """Return the columns of a metric, (N, C).

        Raises:
            DataError: a column is missing.
        """
        missing = [name for name in metric.columns if name not in self.columns]
        if missing:
            path = self.folders[0] / PER_CASE_FILE
            raise DataError(path, None, f"it has no column {missing}.", "Evaluate again with this version.")
        return np.stack([self.columns[name] for name in metric.columns], 1)

    def folder_of(self, case: str) -> Path:
        """Return the folder of the evaluation that a case was in."""
        return self.folders[self.cases.index(case)]


def read_evaluated(folder: Path) -> Evaluated:
    """Read per_case.csv and summary.json of an evaluation.

    Raises:
        DataError: one of them is missing or damaged, or there is no case.
    """
    path = folder / PER_CASE_FILE
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = sorted(csv.DictReader(file), key=lambda row: natural_order(row["case"]))
        names = [name for name in rows[0] if name != "case"]
        columns = {name: np.array([_number(row[name]) for row in rows]) for name in names}
        metrics = json.loads((folder / SUMMARY_FILE).read_text(encoding="utf-8"))["metrics"]
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise DataError(path, None, f"it is no evaluation ({error}).", "Evaluate again.") from error
    known = {name: float(value) for name, value in metrics.items() if isinstance(value, int | float)}
    return Evaluated((folder,) * len(rows), tuple(row["case"] for row in rows), columns, known)


def pool(folds: Sequence[Evaluated], tasks: Sequence[Task]) -> Evaluated:
    """Pool the evaluations of the folds of a cross-validation, each case by the network that had not seen it.

    Main metrics, and those that a column of per_case.csv has for each case, are computed anew over all cases; of others
    (an AUROC of one finding, a calibration error) the mean over folds is taken, each fold as often as it has cases.

    Args:
        folds: their evaluations.
        tasks: what was predicted.

    Raises:
        DataError: a case is in two folds, or the folds have other columns.
    """
    order = sorted((natural_order(case), k, i) for k, fold in enumerate(folds) for i, case in enumerate(fold.cases))
    cases = tuple(folds[k].cases[i] for _, k, i in order)
    folders = tuple(folds[k].folders[i] for _, k, i in order)
    if len(set(cases)) < len(cases):
        twice = next(case for case, after in itertools.pairwise(cases) if case == after)
        raise DataError(
            folders[0] / PER_CASE_FILE, twice, "the case is in the test sets of two folds.", "Compare anew."
        )
    for fold in folds:
        if set(fold.columns) != set(folds[0].columns):
            path = fold.folders[0] / PER_CASE_FILE
            raise DataError(path, None, "it has other columns than that of the first fold.", "Evaluate all folds anew.")
    columns = {name: np.array([folds[k].columns[name][i] for _, k, i in order]) for name in folds[0].columns}
    pooled = Evaluated(folders, cases, columns, {})
    metrics = {name: _weighted(name, folds) for name in folds[0].metrics}
    metrics |= {name: known_mean(columns[name].tolist()) for name in metrics if name in columns}
    for metric in map(main_metric_for, tasks):
        metrics[metric.key] = metric.compute(pooled.values(metric))
    if COMPLETE in columns:
        metrics[f"{COMPLETE}_cases"] = float(np.nansum(columns[COMPLETE]))
    return Evaluated(folders, cases, columns, metrics)


def _weighted(name: str, folds: Sequence[Evaluated]) -> float:
    found = [(fold.metrics.get(name, math.nan), len(fold.cases)) for fold in folds]
    known = [(value, count) for value, count in found if not math.isnan(value)]
    return sum(value * count for value, count in known) / sum(count for _, count in known) if known else math.nan


def _number(cell: str | None) -> float:
    try:
        return float(cell) if cell else math.nan
    except ValueError:
        return math.nan
