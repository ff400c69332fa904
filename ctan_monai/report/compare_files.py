"""The files of a comparison's folder."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctan_monai.aliases import existing_file
from ctan_monai.engines.handlers.case_metrics_writer import PER_CASE_FILE, SUMMARY_FILE
from ctan_monai.errors import DataError
from ctan_monai.metrics.base import natural_order
from ctan_monai.metrics.main_metric import MainMetric
from ctan_monai.report.run_files import RunHistory, read_history, read_json
from ctan_monai.tasks import Task, task_from

PLAN_FILE = "compare.json"
RUNS_FOLDER = "runs"
COMMANDS_FILE = "commands.sh"
GROUPS_FILE = "groups.json"
COSTS_FILE = "costs.json"
EVALUATION_FOLDER = "evaluation"
BASELINES_FILE = "naive_baselines/baselines.json"

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Evaluated:
    """Results of an evaluation.

    Args:
        folder: of the evaluation.
        cases: ids, in their natural order.
        columns: of per_case.csv, (N,) each; nan = unknown.
        metrics: of summary.json.
    """

    folder: Path
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
            path = self.folder / PER_CASE_FILE
            raise DataError(path, None, f"it has no column {missing}.", "Evaluate again with this version.")
        return np.stack([self.columns[name] for name in metric.columns], 1)


@dataclass(frozen=True)
class SeedRun:
    """A finished run: its evaluation, history and costs."""

    seed: int
    evaluated: Evaluated
    history: RunHistory
    costs: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class ComparedRow:
    """A row of the table with its finished runs."""

    name: str
    method: str
    weighting: str | None
    preset: str | None
    runs: tuple[SeedRun, ...]


@dataclass(frozen=True)
class Comparison:
    """Content of a comparison's folder.

    Args:
        folder: of the comparison.
        plan: compare.json.
        tasks: what was predicted.
        rows: those with a finished run, the reference among them.
        seeds: that all of these rows have finished.
        groups: for each case its cluster.
        baselines: naive baselines, None if they were not computed.
        baseline_words: what they answer, by task.
        costs: of a training step, by row.
        missing: runs that are not finished, in words.
    """

    folder: Path
    plan: Mapping[str, Any]
    tasks: tuple[Task, ...]
    rows: tuple[ComparedRow, ...]
    seeds: tuple[int, ...]
    groups: tuple[str, ...]
    baselines: Evaluated | None
    baseline_words: Mapping[str, str]
    costs: Mapping[str, Mapping[str, float | None]]
    missing: tuple[str, ...]

    @property
    def cases(self) -> tuple[str, ...]:
        """Ids of the test cases."""
        return self.rows[0].runs[0].evaluated.cases

    @property
    def reference(self) -> ComparedRow:
        """Row that others are compared with."""
        return next(row for row in self.rows if row.name == self.plan["reference"])


def read_evaluated(folder: Path) -> Evaluated:
    """Read per_case.csv and summary.json of an evaluation.

    Raises:
        DataError: one of them is missing or damaged.
    """
    path = folder / PER_CASE_FILE
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = sorted(csv.DictReader(file), key=lambda row: natural_order(row["case"]))
        names = [name for name in rows[0] if name != "case"] if rows else []
        columns = {name: np.array([_number(row[name]) for row in rows]) for name in names}
        metrics = json.loads((folder / SUMMARY_FILE).read_text(encoding="utf-8"))["metrics"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(path, None, f"it is no evaluation ({error}).", "Evaluate again.") from error
    known = {name: float(value) for name, value in metrics.items() if isinstance(value, int | float)}
    return Evaluated(folder, tuple(row["case"] for row in rows), columns, known)


def read_comparison(folder: Path) -> Comparison:
    """Read the finished runs of a comparison.

    Raises:
        DataError: it is none, its reference has no finished run, or runs were evaluated on different cases.
    """
    plan = read_json(folder / PLAN_FILE)
    if not isinstance(plan, Mapping):
        raise DataError(folder / PLAN_FILE, None, "it cannot be read.", "Name the folder of `ctan-monai compare`.")
    rows, missing = [], []
    for entry in plan["rows"]:
        runs = []
        for seed in plan["seeds"]:
            run = _read_run(folder / RUNS_FOLDER / entry["name"] / f"seed{seed}", seed)
            runs += [] if run is None else [run]
            missing += [f"{entry['name']}, seed {seed}"] if run is None else []
        if runs:
            rows.append(ComparedRow(entry["name"], entry["method"], entry["weighting"], entry["preset"], tuple(runs)))
    if plan["reference"] not in [row.name for row in rows]:
        remedy = "Wait for it, or give the same `compare` command again."
        raise DataError(folder, None, f"{plan['reference']}, which others refer to, has no finished run.", remedy)
    common = [seed for seed in plan["seeds"] if all(seed in [run.seed for run in row.runs] for row in rows)]
    _check_cases(rows)
    cases = rows[0].runs[0].evaluated.cases
    groups = read_json(folder / GROUPS_FILE) or {}
    baselines = existing_file(folder, BASELINES_FILE)
    return Comparison(
        folder,
        plan,
        tuple(task_from(task) for task in plan["tasks"]),
        tuple(rows),
        tuple(common),
        tuple(str(groups.get(case, case)) for case in cases),
        _baselines(baselines.parent, cases),
        read_json(baselines) or {},
        read_json(folder / COSTS_FILE) or {},
        tuple(missing),
    )


def _read_run(folder: Path, seed: int) -> SeedRun | None:
    costs = {step: read_json(folder / f"{step}.json") for step in ("training", "evaluating")}
    if not all(costs.values()):
        return None
    run = folder / "run"
    return SeedRun(seed, read_evaluated(run / EVALUATION_FOLDER), read_history(run), costs)


def _baselines(folder: Path, cases: Sequence[str]) -> Evaluated | None:
    if not (folder / PER_CASE_FILE).is_file():
        return None
    found = read_evaluated(folder)
    return found if found.cases == tuple(cases) else None


def _check_cases(rows: Sequence[ComparedRow]) -> None:
    expected = rows[0].runs[0].evaluated
    for row in rows:
        for run in row.runs:
            if run.evaluated.cases != expected.cases:
                raise DataError(
                    run.evaluated.folder / PER_CASE_FILE,
                    None,
                    f"its {len(run.evaluated.cases)} cases are not the {len(expected.cases)} of {expected.folder}.",
                    "Compare runs of the same data and splits.",
                )


def _number(cell: str | None) -> float:
    try:
        return float(cell) if cell else math.nan
    except ValueError:
        return math.nan
