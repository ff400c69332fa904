"""Intervals and tests over cases and seeds together, which are crossed: every seed answers the same cases."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ctan_monai.metrics.statistics.bootstrap import UNKNOWN, UNKNOWN_SHARE, Interval
from ctan_monai.metrics.statistics.paired import Test

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Crossed:
    """A mean over seeds with its variance components; nan where nothing is known.

    Args:
        estimate: over all cases and seeds.
        seeds: how many.
        clusters: of cases (patients, lesions): how many.
        by_seeds: the estimate's variance because of seeds, the residual's share included.
        by_cases: because of clusters of cases, the residual's share included.
        by_rest: because a seed does better on some cases than on others.
    """

    estimate: float
    seeds: int
    clusters: int
    by_seeds: float
    by_cases: float
    by_rest: float

    def interval(self, level: float = 0.95) -> Interval:
        """Return the t interval for other cases and other seeds; unknown for one seed or one cluster."""
        from scipy.stats import t

        error, freedom = self._error()
        if math.isnan(error):
            return UNKNOWN
        half = float(t.ppf((1 + level) / 2, freedom)) * error
        return Interval(self.estimate - half, self.estimate + half)

    def test(self) -> Test:
        """Test whether the estimate is 0 for other cases and other seeds: the interval's own t test."""
        from scipy.stats import t

        error, freedom = self._error()
        units = min(self.seeds, self.clusters)
        if math.isnan(error) or error == 0:
            return Test("t, cases and seeds", 1.0 if error == 0 and self.estimate == 0 else math.nan, units)
        return Test("t, cases and seeds", float(2 * t.sf(abs(self.estimate) / error, freedom)), units)

    def seeds_needed(self, difference: float, power: float = 0.8, at_most: int = 10_000) -> int | None:
        """Return the number of seeds that would show a difference on as many cases; None if no number would.

        Args:
            difference: to be shown with an interval of 95 %.
            power: chance to see it.
            at_most: number beyond which none is looked for.
        """
        return _first(lambda seeds: self._shown(difference, seeds, self.clusters, power), 2, at_most)

    def clusters_needed(
        self, difference: float, seeds: int, power: float = 0.8, at_most: int = 1_000_000
    ) -> int | None:
        """Return the number of clusters of cases that would show a difference with a given number of seeds."""
        return _first(lambda clusters: self._shown(difference, seeds, clusters, power), 2, at_most)

    def _error(self) -> tuple[float, float]:
        error, freedom = crossed_error(
            np.array(self.by_seeds), np.array(self.by_cases), np.array(self.by_rest), self.seeds, self.clusters
        )
        return (math.nan, math.nan) if math.isnan(self.estimate) else (float(error), float(freedom))

    def _shown(self, difference: float, seeds: int, clusters: int, power: float) -> bool:
        """Tell whether so many seeds and clusters would show a difference, given the estimated components."""
        from scipy.stats import t

        rest = self.by_rest * self.seeds * self.clusters / (seeds * clusters)
        by_seeds = max(0.0, self.by_seeds - self.by_rest) * self.seeds / seeds + rest
        by_cases = max(0.0, self.by_cases - self.by_rest) * self.clusters / clusters + rest
        error, freedom = crossed_error(np.array(by_seeds), np.array(by_cases), np.array(rest), seeds, clusters)
        factor = float(t.ppf(0.975, freedom) + t.ppf(power, freedom))
        return abs(difference) >= factor * float(error) > 0


def crossed_error(
    by_seeds: Floats, by_cases: Floats, by_rest: Floats, seeds: int, clusters: int
) -> tuple[Floats, Floats]:
    """Return the standard error of a mean over crossed seeds and cases, and its degrees of freedom.

    The variance is by_seeds + by_cases - by_rest (the residual is in both), not below the larger of the two. Degrees of
    freedom are Satterthwaite's of the two sums; where the seeds vary no more than the residual makes them, they add
    nothing to the cases, and the freedom is that of the cases. Chosen by simulated coverage (docs/compare.md).

    Args:
        by_seeds: variance of the mean because of seeds, as `Crossed` has it; of any shape.
        by_cases: because of cases.
        by_rest: because of both together.
        seeds: how many.
        clusters: how many.

    Returns:
        Both of that shape; nan for one seed or one cluster.

    Source: Satterthwaite 1946, "An approximate distribution of estimates of variance components", Biometrics
    Bulletin 2; mean squares of two crossed random factors: Searle, Casella, McCulloch 1992, "Variance components".
    """
    if seeds < 2 or clusters < 2:
        return np.full_like(by_seeds, math.nan), np.full_like(by_seeds, math.nan)
    larger = np.maximum(by_seeds, by_cases)
    variance = np.maximum(by_seeds + by_cases - by_rest, larger)
    with np.errstate(invalid="ignore", divide="ignore"):
        freedom = variance**2 / (by_seeds**2 / (seeds - 1) + by_cases**2 / (clusters - 1))
    freedom = np.where(by_seeds <= by_rest, np.fmax(freedom, clusters - 1.0), freedom)
    return np.sqrt(variance), freedom


def crossed(by_seed: Floats, samples: Floats, clusters: int) -> Crossed:
    """Estimate the variance components of a metric's mean over seeds, be it a mean over cases or not (AUROC, Delta).

    Missing labels and clusters of unequal size need no rule of their own: each draw computes the metric anew from what
    is known. For a mean over complete cases it is the analysis of variance of the (seeds, cases) table.

    Args:
        by_seed: (S,), each seed's value over all cases.
        samples: (draws, S), each seed's value on the same resampled clusters (`bootstrap`); nan = unknown in a draw,
            which is left out, up to one draw in twenty.
        clusters: how many there were to draw from.
    """
    seeds = len(by_seed)
    known = samples[~np.isnan(samples).any(1)]
    estimate = float(np.mean(by_seed))
    if seeds < 2 or clusters < 2 or len(known) < (1 - UNKNOWN_SHARE) * len(samples):
        return Crossed(estimate, seeds, clusters, math.nan, math.nan, math.nan)
    small = clusters / (clusters - 1)  # a bootstrap's variance has n for n - 1
    means = known.mean(1)
    rest = small * (known - means[:, None]).var(0).sum() / (seeds - 1) / seeds
    by_seeds = float(np.var(by_seed, ddof=1)) / seeds
    return Crossed(estimate, seeds, clusters, by_seeds, small * float(means.var()), float(rest))


def _first(holds: Callable[[int], bool], low: int, high: int) -> int | None:
    """Find the smallest number from which on a condition holds."""
    if not holds(high):
        return None
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle + 1, high)
    return low
