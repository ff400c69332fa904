"""From per-case answers to figures, improvements, intervals and tests: what summary.json of a comparison holds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctan_monai.errors import DataError
from ctan_monai.metrics.completeness import COMPLETE
from ctan_monai.metrics.main_metric import MainMetric, main_metric_for
from ctan_monai.metrics.statistics import (
    Interval,
    Test,
    bootstrap,
    bootstrap_test,
    cases_needed,
    expanded_interval,
    holm,
    verdict,
)
from ctan_monai.metrics.statistics.bootstrap import DRAWS
from ctan_monai.report.compare_files import ComparedRow, Comparison, Evaluated

Floats = NDArray[np.float64]
SEEDS_FOR_CLAIMS = 5
MEAN = "mean"  # beside the tasks' names


@dataclass(frozen=True)
class Drawn:
    """Figures of a row: over all cases once, and in every draw of the bootstrap.

    Args:
        figures: (T,) over the cases as they are, mean over seeds, in shown units.
        samples: (draws, T).
    """

    figures: Floats
    samples: Floats


def analyse(comparison: Comparison, draws: int = DRAWS, seed: int = 0) -> dict[str, Any]:
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
    values = {row.name: _values(row, metrics, comparison.seeds) for row in comparison.rows}
    drawn = _draw(comparison, metrics, values, draws, seed)
    clusters = len(set(comparison.groups))
    judge = _Judge(comparison, metrics, values, drawn, clusters)
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
                task.name: {**_figure(drawn[row.name], index, clusters), **_seeds(row, metric, comparison.seeds)}
                for index, (task, metric) in enumerate(zip(comparison.tasks, metrics, strict=True))
            },
            "against_reference": against.get(row.name),
            "against_best_baseline": versus.get(row.name),
            "complete_cases": _complete(row, metrics, comparison),
            "other_figures": _other_figures(row, comparison.seeds),
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
        "draws": draws,
        "missing": list(comparison.missing),
        "rows": rows,
        "trivial": _trivial(comparison, metrics),
    }


class _Judge:
    """Compares rows with one of them."""

    def __init__(
        self,
        comparison: Comparison,
        metrics: Sequence[MainMetric],
        values: Mapping[str, Sequence[Sequence[Floats]]],
        drawn: Mapping[str, Drawn],
        clusters: int,
    ) -> None:
        self.comparison, self.metrics, self.values = comparison, metrics, values
        self.drawn, self.clusters = drawn, clusters

    def compare(self, names: Sequence[str], base: str) -> dict[str, dict[str, Any]]:
        """Compare some rows with one; their tests are one family for Holm's correction."""
        found = {name: self._one(name, base) for name in names}
        entries = [entry for row in found.values() for entry in row.values() if isinstance(entry, dict)]
        for entry, adjusted in zip(entries, holm([entry["p"] for entry in entries]), strict=True):
            entry["p_holm"] = adjusted
            entry["verdict"] = verdict(Interval(*entry["interval"]), adjusted)
        return found

    def _one(self, name: str, base: str) -> dict[str, Any]:
        mine, theirs = self.drawn[name], self.drawn[base]
        signs = np.array([1.0 if metric.higher_is_better else -1.0 for metric in self.metrics])
        with np.errstate(divide="ignore", invalid="ignore"):
            delta = _finite(signs * 100 * (mine.figures - theirs.figures) / theirs.figures)  # eq. 3
            samples = _finite(signs * 100 * (mine.samples - theirs.samples) / theirs.samples)
        found: dict[str, Any] = {"with": base}
        for index, (task, metric) in enumerate(zip(self.comparison.tasks, self.metrics, strict=True)):
            test = metric.test(self.values[name][index], self.values[base][index], self.comparison.groups)
            difference = float(mine.figures[index] - theirs.figures[index])
            found[task.name] = self._entry(float(delta[index]), samples[:, index], test) | {"difference": difference}
        found[MEAN] = self._entry(float(delta.mean()), samples.mean(1), None)
        return found

    def _entry(self, delta: float, samples: Floats, test: Test | None) -> dict[str, Any]:
        used = test or bootstrap_test(samples, self.clusters)
        interval = expanded_interval(samples, self.clusters)
        spread = float(np.nanstd(samples)) if interval.known else math.nan
        return {
            "delta": delta,
            "interval": [interval.low, interval.high],
            "test": used.name,
            "p": used.p,
            "units": used.units,
            "cases_needed": cases_needed(delta, spread, self.clusters),
        }


def _values(row: ComparedRow, metrics: Sequence[MainMetric], seeds: Sequence[int]) -> list[list[Floats]]:
    """Return for each task, for each seed, (N, C)."""
    runs = [run.evaluated for run in row.runs if run.seed in seeds]
    return [[evaluated.values(metric) for evaluated in runs] for metric in metrics]


def _draw(
    comparison: Comparison,
    metrics: Sequence[MainMetric],
    values: Mapping[str, Sequence[Sequence[Floats]]],
    draws: int,
    seed: int,
) -> dict[str, Drawn]:
    """Bootstrap the figures of all rows and tasks on the same draws."""

    def figures(weights: Floats) -> Floats:
        columns = [
            metric.factor * np.mean([metric.figures(table, weights) for table in tables], axis=0)
            for row in values.values()
            for metric, tables in zip(metrics, row, strict=True)
        ]
        return np.stack(columns, 1)  # (B, rows x T)

    samples = bootstrap(figures, comparison.groups, draws, seed)
    whole = figures(np.ones((1, len(comparison.groups))))[0]
    parts = zip(np.split(whole, len(values)), np.split(samples, len(values), axis=1), strict=True)
    return {name: Drawn(*part) for name, part in zip(values, parts, strict=True)}


def _figure(drawn: Drawn, index: int, clusters: int) -> dict[str, Any]:
    interval = expanded_interval(drawn.samples[:, index], clusters)
    return {"figure": float(drawn.figures[index]), "interval": [interval.low, interval.high]}


def _seeds(row: ComparedRow, metric: MainMetric, seeds: Sequence[int]) -> dict[str, Any]:
    """Return the figure of each seed, and their standard deviation."""
    by_seed = [metric.factor * metric.figure(run.evaluated.values(metric)) for run in row.runs if run.seed in seeds]
    spread = float(np.std(by_seed, ddof=1)) if len(by_seed) > 1 else math.nan
    return {"by_seed": by_seed, "spread_over_seeds": spread}


def _complete(row: ComparedRow, metrics: Sequence[MainMetric], comparison: Comparison) -> dict[str, Any]:
    """Return the figures over the cases whose labels are all known (SPEC A18)."""
    runs = [run.evaluated for run in row.runs if run.seed in comparison.seeds and COMPLETE in run.evaluated.columns]
    if not runs:
        return {"cases": None, "tasks": {}}
    chosen = runs[0].columns[COMPLETE] == 1
    figures = {
        task.name: metric.factor * float(np.mean([metric.figure(run.values(metric)[chosen]) for run in runs]))
        for task, metric in zip(comparison.tasks, metrics, strict=True)
    }
    return {"cases": int(chosen.sum()), "tasks": figures}


def _other_figures(row: ComparedRow, seeds: Sequence[int]) -> dict[str, float]:
    """Return everything that the evaluations report, mean over seeds."""
    runs = [run.evaluated.metrics for run in row.runs if run.seed in seeds]
    return {name: float(np.mean([run.get(name, math.nan) for run in runs])) for name in runs[0]}


def _about(row: ComparedRow) -> dict[str, Any]:
    return {"method": row.method, "weighting": row.weighting, "preset": row.preset}


def _processes(row: ComparedRow) -> dict[str, Any]:
    """Return what the trainings used, mean over the runs, and the epochs that were chosen."""
    keys = ("seconds", "cpu_seconds", "peak_memory_mb")
    marks = [run.costs["training"] for run in row.runs]
    means = {f"training_{key}": float(np.mean([mark.get(key, math.nan) for mark in marks])) for key in keys}
    epochs = {
        run.seed: {part: entry["epoch"] for part, entry in run.history.best.items()} | _joint(run.history.epochs)
        for run in row.runs
    }
    return {**means, "best_epochs": epochs}


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


def _trivial(comparison: Comparison, metrics: Sequence[MainMetric]) -> dict[str, Any]:
    found: Evaluated | None = comparison.trivial
    if found is None:
        return {}
    return {
        task.name: {
            "answer": comparison.trivial_words.get(task.name, ""),
            "figure": metric.factor * metric.figure(found.values(metric)),
            "other_figures": {key: value for key, value in found.metrics.items() if key.startswith(f"{task.name}_")},
        }
        for task, metric in zip(comparison.tasks, metrics, strict=True)
    }


def _ranks(deltas: Mapping[str, float]) -> dict[str, int]:
    """Rank rows by Delta_mean, 1 is best; equal ones share a rank."""
    return {name: 1 + sum(_known(other) > _known(delta) for other in deltas.values()) for name, delta in deltas.items()}


def _known(delta: float) -> float:
    return -math.inf if math.isnan(delta) else delta


def _finite(values: Floats) -> Floats:
    """Make what is relative to 0 unknown."""
    found: Floats = np.where(np.isfinite(values), values, math.nan)
    return found
