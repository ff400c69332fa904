"""Intervals, tests and verdicts on the improvement of one row over another, for other cases and seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctan_monai.metrics.main_metric import MainMetric
from ctan_monai.metrics.statistics import (
    SEEDS_FOR_VERDICTS,
    Crossed,
    Interval,
    Test,
    bootstrap,
    bootstrap_test,
    crossed,
    expanded_interval,
    holm,
    verdict,
)
from ctan_monai.report.compare_files import Comparison

Floats = NDArray[np.float64]
MEAN = "mean"  # beside the tasks' names
SMALLEST = 1.0  # percent: the improvement whose cost in seeds and cases is told beside that of the one found


@dataclass(frozen=True)
class Drawn:
    """Metrics of a row by seed: over all cases, and in every bootstrap sample.

    Args:
        values: for each task, for each seed, (N, C).
        by_seed: (S, T) over the cases as they are, in shown units.
        samples: (draws, S, T).
    """

    values: Sequence[Sequence[Floats]]
    by_seed: Floats
    samples: Floats


def draw(comparison: Comparison, metrics: Sequence[MainMetric], draws: int, seed: int) -> dict[str, Drawn]:
    """Bootstrap the metrics of all rows, seeds and tasks on the same samples of cases."""
    seeds = comparison.seeds
    values = {
        row.name: [[run.evaluated.values(metric) for run in row.runs if run.seed in seeds] for metric in metrics]
        for row in comparison.rows
    }

    def weighted_metrics(weights: Floats) -> Floats:
        columns = [
            metric.factor * metric.compute_weighted(tables[index], weights)
            for row in values.values()
            for index in range(len(seeds))
            for metric, tables in zip(metrics, row, strict=True)
        ]
        return np.stack(columns, 1)  # (B, rows x S x T)

    shape = (len(values), len(seeds), len(metrics))
    samples = bootstrap(weighted_metrics, comparison.groups, draws, seed).reshape(-1, *shape)
    whole = weighted_metrics(np.ones((1, len(comparison.groups)))).reshape(shape)
    return {name: Drawn(values[name], whole[index], samples[:, index]) for index, name in enumerate(values)}


def two_intervals(by_seed: Floats, samples: Floats, averaged: Floats, clusters: int) -> dict[str, Any]:
    """Return the reported interval, and that for other cases alone, given the seeds that were run.

    Args:
        by_seed: (S,).
        samples: (draws, S).
        averaged: (draws,) of the metric of all seeds.
        clusters: of cases.
    """
    given = expanded_interval(averaged, clusters)
    over = crossed(by_seed, samples, clusters).interval()
    shown = over if len(by_seed) >= SEEDS_FOR_VERDICTS else given
    return {
        "interval": [shown.low, shown.high],
        "interval_given_seeds": [given.low, given.high],
        "interval_over_seeds": [over.low, over.high],
    }


class Judge:
    """Comparison of rows with one of them."""

    def __init__(
        self, comparison: Comparison, metrics: Sequence[MainMetric], drawn: Mapping[str, Drawn], clusters: int
    ) -> None:
        self.comparison, self.metrics, self.drawn, self.clusters = comparison, metrics, drawn, clusters

    def compare(self, names: Sequence[str], base: str) -> dict[str, dict[str, Any]]:
        """Compare rows with another; their tests are one family for Holm's correction."""
        found = {name: self._one(name, base) for name in names}
        entries = [entry for row in found.values() for entry in row.values() if isinstance(entry, dict)]
        for entry, adjusted in zip(entries, holm([entry["p"] for entry in entries]), strict=True):
            entry["p_holm"] = adjusted
            entry["verdict"] = verdict(Interval(*entry["interval"]), adjusted, len(self.comparison.seeds))
        return found

    def _one(self, name: str, base: str) -> dict[str, Any]:
        mine, theirs = self.drawn[name], self.drawn[base]
        signs = np.array([1.0 if metric.higher_is_better else -1.0 for metric in self.metrics])
        ours, baseline = mine.by_seed.mean(0), theirs.by_seed.mean(0)  # (T,)
        with np.errstate(divide="ignore", invalid="ignore"):
            delta = _finite(signs * 100 * (ours - baseline) / baseline)  # eq. 3
            ratio = ours / baseline
            # Eq. 3 of each seed, linear about the means: their mean is that of the ratio of means, none has its bias.
            by_seed = _finite(delta + signs * 100 * (mine.by_seed - ratio * theirs.by_seed) / baseline)  # (S, T)
            samples = _finite(delta + signs * 100 * (mine.samples - ratio * theirs.samples) / baseline)  # (draws, S, T)
            base_means = theirs.samples.mean(1)
            averaged = _finite(signs * 100 * (mine.samples.mean(1) - base_means) / base_means)  # (draws, T)
        found: dict[str, Any] = {"with": base}
        for index, (task, metric) in enumerate(zip(self.comparison.tasks, self.metrics, strict=True)):
            test = metric.test(mine.values[index], theirs.values[index], self.comparison.groups)
            entry = self._entry(by_seed[:, index], samples[:, :, index], averaged[:, index], test)
            found[task.name] = entry | {"difference": float(ours[index] - baseline[index])}
        found[MEAN] = self._entry(by_seed.mean(1), samples.mean(2), averaged.mean(1), None)
        return found

    def _entry(self, by_seed: Floats, samples: Floats, averaged: Floats, given: Test | None) -> dict[str, Any]:
        spread = crossed(by_seed, samples, self.clusters)
        over = len(by_seed) >= SEEDS_FOR_VERDICTS
        used = spread.test() if over else given or bootstrap_test(averaged, self.clusters)
        return {
            "delta": spread.estimate,
            "by_seed": by_seed.tolist(),
            **two_intervals(by_seed, samples, averaged, self.clusters),
            "test": used.name,
            "p": used.p,
            "units": used.units,
            "variance": {"seeds": spread.by_seeds, "cases": spread.by_cases, "rest": spread.by_rest},
            "needed": _needed(spread, spread.estimate),
            "needed_for_smallest": _needed(spread, SMALLEST),
        }


def _needed(spread: Crossed, difference: float) -> dict[str, int | None]:
    """Return the numbers of seeds on these cases, and of clusters with these seeds, that would show a difference."""
    seeds, with_seeds = spread.seeds_needed(difference), max(spread.seeds, SEEDS_FOR_VERDICTS)
    return {
        "seeds": None if seeds is None else max(seeds, SEEDS_FOR_VERDICTS),
        "cases": spread.clusters_needed(difference, with_seeds),
        "with_seeds": with_seeds,
    }


def _finite(values: Floats) -> Floats:
    """Replace infinite values by nan."""
    found: Floats = np.where(np.isfinite(values), values, np.nan)
    return found
