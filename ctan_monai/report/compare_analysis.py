"""Statistics of a comparison from per-case metrics: the content of its summary.json."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ctan_monai.errors import DataError
from ctan_monai.metrics.base import COMPLETE
from ctan_monai.metrics.main_metric import MainMetric, main_metric_for
from ctan_monai.metrics.statistics import SEEDS_FOR_VERDICTS
from ctan_monai.metrics.statistics.bootstrap import DRAWS
from ctan_monai.report.compare_files import ComparedRow, Comparison
from ctan_monai.report.compare_judge import Drawn, Judge, draw, two_intervals
from ctan_monai.report.evaluated import Evaluated
from ctan_monai.report.run_files import SELECTION, RunHistory

_LAST_EPOCHS = 5  # over which the spread of a run's selection score is shown


def analyze(comparison: Comparison, draws: int = DRAWS, seed: int = 0) -> dict[str, Any]:
    """Compare rows with the reference, and the candidate's rows with the best of the other methods.

    Args:
        comparison: its files.
        draws: of the bootstrap.
        seed: of the draws.

    Returns:
        What summary.json holds.

    Raises:
        DataError: there is no seed that all rows have finished.
    """
    if not comparison.seeds:
        remedy = "Give the same `compare` command again, so that it finishes one."
        raise DataError(comparison.folder, None, "there is no seed that all rows have finished.", remedy)
    metrics = [main_metric_for(task) for task in comparison.tasks]
    drawn = draw(comparison, metrics, draws, seed)
    clusters = len(set(comparison.groups))
    basis = "cases and seeds" if len(comparison.seeds) >= SEEDS_FOR_VERDICTS else "cases, given these seeds"
    judge = Judge(comparison, metrics, drawn, clusters)
    reference = comparison.reference.name
    against = judge.compare([row.name for row in comparison.rows if row.name != reference], reference)
    deltas = {name: found["mean"]["delta"] for name, found in against.items()} | {reference: 0.0}
    candidates = [row.name for row in comparison.rows if row.method == comparison.plan["candidate"]]
    others = [row.name for row in comparison.rows if row.method != comparison.plan["candidate"]]
    best = max(others, key=lambda name: _known(deltas[name])) if others else None
    versus = {} if best is None or best == reference else judge.compare(candidates, best)
    ranks = _ranks(deltas)
    rows = {
        row.name: {
            **_about(row),
            "rank": ranks[row.name],
            "tasks": {
                task.name: {**_value(drawn[row.name], index, clusters), **_seeds(row, metric, comparison.seeds)}
                for index, (task, metric) in enumerate(zip(comparison.tasks, metrics, strict=True))
            },
            "against_reference": against.get(row.name),
            "against_best_baseline": versus.get(row.name),
            "complete_cases": _complete(row, metrics, comparison),
            "other_metrics": _other_metrics(row, comparison.seeds),
            "cost": comparison.costs.get(row.name),
            "runs": _processes(row),
        }
        for row in comparison.rows
    }
    return {
        "reference": reference,
        "candidate": comparison.plan["candidate"],
        "best_baseline": best,
        "tasks": {task.name: _metric(metric) for task, metric in zip(comparison.tasks, metrics, strict=True)},
        "cases": len(comparison.cases),
        "clusters": clusters,
        "seeds": list(comparison.seeds),
        "folds": comparison.folds,
        "intervals_over": basis,
        "draws": draws,
        "missing": list(comparison.missing),
        "rows": rows,
        "naive_baselines": _baselines(comparison, metrics),
    }


def _value(drawn: Drawn, index: int, clusters: int) -> dict[str, Any]:
    by_seed, samples = drawn.by_seed[:, index], drawn.samples[:, :, index]
    return {"value": float(by_seed.mean()), **two_intervals(by_seed, samples, samples.mean(1), clusters)}


def _seeds(row: ComparedRow, metric: MainMetric, seeds: Sequence[int]) -> dict[str, Any]:
    """Return the value of each seed, and their standard deviation."""
    by_seed = [metric.factor * metric.compute(run.evaluated.values(metric)) for run in row.runs if run.seed in seeds]
    spread = float(np.std(by_seed, ddof=1)) if len(by_seed) > 1 else math.nan
    return {"by_seed": by_seed, "spread_over_seeds": spread}


def _complete(row: ComparedRow, metrics: Sequence[MainMetric], comparison: Comparison) -> dict[str, Any]:
    """Return the metrics over the cases whose labels are all known (docs/adr/0002, A18)."""
    runs = [run.evaluated for run in row.runs if run.seed in comparison.seeds and COMPLETE in run.evaluated.columns]
    if not runs:
        return {"cases": None, "tasks": {}}
    chosen = runs[0].columns[COMPLETE] == 1
    values = {
        task.name: metric.factor * float(np.mean([metric.compute(run.values(metric)[chosen]) for run in runs]))
        for task, metric in zip(comparison.tasks, metrics, strict=True)
    }
    return {"cases": int(chosen.sum()), "tasks": values}


def _other_metrics(row: ComparedRow, seeds: Sequence[int]) -> dict[str, float]:
    """Return all other metrics of the evaluations, mean over seeds."""
    runs = [run.evaluated.metrics for run in row.runs if run.seed in seeds]
    return {name: float(np.mean([run.get(name, math.nan) for run in runs])) for name in runs[0]}


def _about(row: ComparedRow) -> dict[str, Any]:
    return {"method": row.method, "weighting": row.weighting, "preset": row.preset}


def _processes(row: ComparedRow) -> dict[str, Any]:
    """Return the resources used by the trainings, mean over the runs, and the selected epochs."""
    keys = ("seconds", "cpu_seconds", "peak_memory_mb")
    trainings = {training.name.removeprefix("seed "): training for training in row.trainings}
    marks = [training.costs["training"] for training in trainings.values()]
    means = {f"training_{key}": float(np.mean([mark.get(key, math.nan) for mark in marks])) for key in keys}
    epochs = {
        name: {part: entry["epoch"] for part, entry in training.history.best.items()} | _joint(training.history.epochs)
        for name, training in trainings.items()
    }
    selection = {name: _selection(training.history) for name, training in trainings.items()}
    return {**means, "best_epochs": epochs, "selection": selection}


def _selection(history: RunHistory) -> dict[str, Any]:
    """Return the noise of selecting an epoch: its score, and mean and spread of the last epochs' scores."""
    scores = history.series("validation", SELECTION)[1]
    last = scores[-_LAST_EPOCHS:]
    return {
        "validated": len(scores),
        "best": max(scores, default=math.nan),
        "last": len(last),
        "last_mean": float(np.mean(last)) if last else math.nan,
        "last_spread": float(np.std(last, ddof=1)) if len(last) > 1 else math.nan,
    }


def _joint(epochs: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Return the epoch with the highest selection score over all tasks together, where validation has one."""
    scores = {int(epoch["epoch"]): (epoch.get("validation") or {}).get("selection") for epoch in epochs}
    known = {epoch: float(score) for epoch, score in scores.items() if score is not None}
    return {"joint": max(known, key=lambda epoch: known[epoch])} if known else {}


def _metric(metric: MainMetric) -> dict[str, Any]:
    return {
        "key": metric.key,
        "label": metric.label,
        "unit": metric.unit,
        "higher_is_better": metric.higher_is_better,
    }


def _baselines(comparison: Comparison, metrics: Sequence[MainMetric]) -> dict[str, Any]:
    found: Evaluated | None = comparison.baselines
    if found is None:
        return {}
    return {
        task.name: {
            "answer": comparison.baseline_words.get(task.name, ""),
            "value": metric.factor * metric.compute(found.values(metric)),
            "other_metrics": {key: value for key, value in found.metrics.items() if key.startswith(f"{task.name}_")},
        }
        for task, metric in zip(comparison.tasks, metrics, strict=True)
    }


def _ranks(deltas: Mapping[str, float]) -> dict[str, int]:
    """Rank rows by Delta_mean, 1 is best; equal ones share a rank."""
    return {name: 1 + sum(_known(other) > _known(delta) for other in deltas.values()) for name, delta in deltas.items()}


def _known(delta: float) -> float:
    return -math.inf if math.isnan(delta) else delta
