"""The files of a comparison's folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ctan_monai.aliases import existing_file
from ctan_monai.engines.handlers.case_metrics_writer import PER_CASE_FILE
from ctan_monai.errors import DataError
from ctan_monai.report.evaluated import Evaluated, pool, read_evaluated
from ctan_monai.report.run_files import RunHistory, read_history, read_json
from ctan_monai.tasks import Task, task_from

PLAN_FILE = "compare.json"
RUNS_FOLDER = "runs"
COMMANDS_FILE = "commands.sh"
GROUPS_FILE = "groups.json"
COSTS_FILE = "costs.json"
EVALUATION_FOLDER = "evaluation"
BASELINES_FILE = "naive_baselines/baselines.json"


@dataclass(frozen=True)
class Training:
    """A finished training.

    Args:
        name: of the seed's run, and of the fold where there are folds.
        folder: with its scripts, logs and costs, from that of the comparison.
        history: of the run.
        costs: of its steps.
    """

    name: str
    folder: Path
    history: RunHistory
    costs: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class SeedRun:
    """What a seed's networks answered, one network or one for each fold.

    Args:
        seed: of the trainings.
        evaluated: of all test cases; with folds, each case by the network that had not seen it.
        trainings: one, or one for each fold.
    """

    seed: int
    evaluated: Evaluated
    trainings: tuple[Training, ...]


@dataclass(frozen=True)
class ComparedRow:
    """A row of the table with its finished runs."""

    name: str
    method: str
    weighting: str | None
    preset: str | None
    runs: tuple[SeedRun, ...]

    @property
    def trainings(self) -> list[Training]:
        """Trainings of all its seeds and folds."""
        return [training for run in self.runs for training in run.trainings]


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
    def folds(self) -> int | None:
        """Folds of the cross-validation, None without one."""
        return self.plan.get("folds")

    @property
    def cases(self) -> tuple[str, ...]:
        """Ids of the test cases."""
        return self.rows[0].runs[0].evaluated.cases

    @property
    def reference(self) -> ComparedRow:
        """Row that others are compared with."""
        return next(row for row in self.rows if row.name == self.plan["reference"])


def read_comparison(folder: Path) -> Comparison:
    """Read the finished runs of a comparison.

    Raises:
        DataError: it is none, its reference has no finished run, or runs were evaluated on different cases.
    """
    plan = read_json(folder / PLAN_FILE)
    if not isinstance(plan, Mapping):
        raise DataError(folder / PLAN_FILE, None, "it cannot be read.", "Name the folder of `ctan-monai compare`.")
    tasks = tuple(task_from(task) for task in plan["tasks"])
    rows, missing = [], []
    for entry in plan["rows"]:
        runs = []
        for seed in plan["seeds"]:
            run, lacking = _read_seed(folder, Path(RUNS_FOLDER, entry["name"], f"seed{seed}"), seed, plan, tasks)
            runs += [] if run is None else [run]
            missing += [f"{entry['name']}, {name}" for name in lacking]
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
        tasks,
        tuple(rows),
        tuple(common),
        tuple(str(groups.get(case, case)) for case in cases),
        _baselines(baselines.parent, cases, plan.get("folds"), tasks),
        read_json(baselines) or {},
        read_json(folder / COSTS_FILE) or {},
        tuple(missing),
    )


def fold_folder(folder: Path, fold: int | None) -> Path:
    """Return the folder of one fold in that of a seed or of the naive baselines; without folds that one."""
    return folder if fold is None else folder / f"fold{fold}"


def _folds(folds: int | None) -> list[int | None]:
    return [None] if folds is None else list(range(folds))


def _read_seed(
    root: Path, within: Path, seed: int, plan: Mapping[str, Any], tasks: Sequence[Task]
) -> tuple[SeedRun | None, list[str]]:
    """Read a seed's run, or those of all its folds; None where one is not finished, and which are not."""
    trainings, evaluations, lacking = [], [], []
    for fold in _folds(plan.get("folds")):
        name = f"seed {seed}" if fold is None else f"seed {seed}, fold {fold}"
        place = fold_folder(within, fold)
        costs = {step: read_json(root / place / f"{step}.json") for step in ("training", "evaluating")}
        if not all(costs.values()):
            lacking.append(name)
            continue
        run = root / place / "run"
        trainings.append(Training(name, place, read_history(run), costs))
        evaluations.append(read_evaluated(run / EVALUATION_FOLDER))
    if lacking:
        return None, lacking
    evaluated = evaluations[0] if plan.get("folds") is None else pool(evaluations, tasks)
    return SeedRun(seed, evaluated, tuple(trainings)), []


def _baselines(folder: Path, cases: Sequence[str], folds: int | None, tasks: Sequence[Task]) -> Evaluated | None:
    places = [fold_folder(folder, fold) for fold in _folds(folds)]
    if not all((place / PER_CASE_FILE).is_file() for place in places):
        return None
    read = [read_evaluated(place) for place in places]
    found = read[0] if folds is None else pool(read, tasks)
    return found if found.cases == tuple(cases) else None


def _check_cases(rows: Sequence[ComparedRow]) -> None:
    expected = rows[0].runs[0].evaluated
    for row in rows:
        for run in row.runs:
            if run.evaluated.cases != expected.cases:
                raise DataError(
                    run.evaluated.folders[0] / PER_CASE_FILE,
                    None,
                    f"its {len(run.evaluated.cases)} cases are not the {len(expected.cases)} of {expected.folders[0]}.",
                    "Compare runs of the same data and splits.",
                )
