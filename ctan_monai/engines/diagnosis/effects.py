"""The change of every metric when a part is exchanged, with an interval over cases."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctan_monai.metrics.main_metric import MainMetric
from ctan_monai.metrics.statistics import bootstrap, expanded_interval

Floats = NDArray[np.float64]
Rows = Sequence[Mapping[str, Any]]


class Effects:
    """Compare metrics with a part exchanged to metrics as trained, on the same cases.

    A metric that is the mean of a column of the cases, and the main metric of each task, gets an interval: expanded
    percentiles of a bootstrap over clusters of cases, of which all exchanges see the same draws. It is about other
    cases, given the trained network.

    Args:
        rows: one per case, as trained.
        metrics: over all cases, as trained.
        groups: the cluster of each case.
        main: the main metric of each task.
        draws: of the bootstrap.
        seed: of the draws.
    """

    def __init__(
        self,
        rows: Rows,
        metrics: Mapping[str, float],
        groups: Mapping[str, Hashable],
        main: Sequence[MainMetric],
        draws: int,
        seed: int,
    ) -> None:
        self.metrics, self.draws, self.seed = metrics, draws, seed
        self._cases = [str(row["case"]) for row in rows]
        self._groups = [groups[case] for case in self._cases]
        self._main = {metric.key: metric for metric in main}
        self._own = {key: self._table(rows, key) for key in metrics}
        self._means = [key for key in metrics if self._is_mean(key)]

    def of(self, rows: Rows, metrics: Mapping[str, float]) -> dict[str, dict[str, float]]:
        """Return by metric the value with the part exchanged, the change, and its interval's ends (nan = none).

        Args:
            rows: one per case with the part exchanged, the same cases.
            metrics: over all cases.
        """
        keys = [*(key for key in self._main if key in self.metrics and key not in self._means), *self._means]
        tables = {key: (self._own[key], self._table(rows, key)) for key in keys}

        def changes(weights: Floats) -> Floats:
            columns = []
            for key, (own, other) in tables.items():
                one, two = (self._weighted(key, values, weights) for values in (own, other))
                columns.append(two - one)
            return np.stack(columns, 1)  # (B, K)

        samples = bootstrap(changes, self._groups, self.draws, self.seed)
        clusters = len(set(self._groups))
        intervals = {key: expanded_interval(samples[:, index], clusters) for index, key in enumerate(keys)}
        found = {}
        for key, own_value in self.metrics.items():
            value = metrics.get(key, math.nan)
            interval = intervals.get(key)
            low, high = (math.nan, math.nan) if interval is None else (interval.low, interval.high)
            found[key] = {"value": value, "change": value - own_value, "low": low, "high": high}
        return found

    def _table(self, rows: Rows, key: str) -> Floats:
        """Return the columns a metric is computed from, (N, C)."""
        columns = self._main[key].columns if key in self._main else (key,)
        by_case = {str(row["case"]): row for row in rows}
        return np.array(
            [[float(by_case[case].get(name, math.nan)) for name in columns] for case in self._cases], dtype=np.float64
        )

    def _weighted(self, key: str, values: Floats, weights: Floats) -> Floats:
        if key in self._main:
            return self._main[key].compute_weighted(values, weights)
        known = ~np.isnan(values[:, 0])
        counts = weights @ known
        means: Floats = np.divide(
            weights @ np.where(known, values[:, 0], 0.0), counts, out=np.full(len(weights), math.nan), where=counts > 0
        )
        return means

    def _is_mean(self, key: str) -> bool:
        """Tell whether a metric is the mean of the known values of its column."""
        mean = self._weighted(key, self._own[key], np.ones((1, len(self._cases))))[0]
        return bool(np.isclose(mean, self.metrics[key], rtol=1e-6, atol=1e-9))


def judge(effect: Mapping[str, float], higher_is_better: bool) -> str:
    """Classify the effect of an exchange on a main metric.

    >>> judge({"change": -0.1, "low": -0.2, "high": -0.05}, higher_is_better=True)
    'worse'
    >>> judge({"change": -0.1, "low": -0.2, "high": 0.05}, higher_is_better=True)
    'no change shown'
    """
    low, high = effect["low"], effect["high"]
    if low <= 0 <= high:
        return "no change shown"
    if math.isnan(low) or math.isnan(high):
        return "unknown"
    return "better" if (low > 0) is higher_is_better else "worse"
