"""Cluster bootstrap: patients (or lesions) are resampled with all their cases."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ctan_monai.errors import ConfigError

Floats = NDArray[np.float64]
DRAWS = 5000
_CHUNK = 250  # draws at once: of 2,000 cases, their weights take 4 MB
UNKNOWN_SHARE = 0.05  # draws in which a metric may be unknown (no case of a class) before its interval is


@dataclass(frozen=True)
class Interval:
    """A confidence interval; nan on both sides = unknown."""

    low: float
    high: float

    @property
    def known(self) -> bool:
        """Whether there is one."""
        return not (math.isnan(self.low) or math.isnan(self.high))

    def holds(self, value: float) -> bool:
        """Tell whether a value lies inside, the ends included."""
        return self.low <= value <= self.high


UNKNOWN = Interval(math.nan, math.nan)


def bootstrap(
    statistic: Callable[[Floats], Floats], groups: Sequence[Hashable], draws: int = DRAWS, seed: int = 0
) -> Floats:
    """Bootstrap metrics over clusters of cases.

    Each draw takes as many clusters as there are, with replacement. All metrics of a draw see the same cases, so their
    differences are paired.

    Args:
        statistic: gets how often each case was drawn, (B, N), and returns K metrics, (B, K).
        groups: for each of the N cases, the cluster that it belongs to.
        draws: how many.
        seed: of the draws.

    Returns:
        (draws, K).

    Raises:
        ConfigError: there is no case, or no draw.

    >>> values = np.array([1.0, 2.0, 3.0])
    >>> means = bootstrap(lambda w: (w @ values / w.sum(1))[:, None], ["a", "b", "c"], draws=2000)
    >>> means.shape, bool(abs(means.mean() - 2.0) < 0.05)
    ((2000, 1), True)
    """
    if not len(groups) or draws < 1:
        raise ConfigError("bootstrap", f"{len(groups)} cases and {draws} draws.", "Give at least one of each.")
    _, cluster = np.unique(np.asarray([str(group) for group in groups]), return_inverse=True)  # (N,)
    clusters = int(cluster.max()) + 1
    random = np.random.default_rng(seed)
    found = []
    for start in range(0, draws, _CHUNK):
        picks = random.integers(0, clusters, (min(_CHUNK, draws - start), clusters))  # (B, G)
        rows = np.repeat(np.arange(len(picks)), clusters)
        counts = np.zeros((len(picks), clusters))
        np.add.at(counts, (rows, picks.ravel()), 1.0)
        found.append(statistic(counts[:, cluster]))
    return np.concatenate(found)


def expanded_interval(samples: Floats, clusters: int, level: float = 0.95) -> Interval:
    """Return the expanded percentile interval of bootstrapped metrics.

    Plain percentiles are too narrow for few clusters n: they use the normal distribution's tails, and a spread that is
    too small by sqrt((n - 1) / n). So the percentiles are taken at Phi(sqrt(n / (n - 1)) t_(alpha/2, n-1)).

    Args:
        samples: (draws,) of one metric; nan where a draw does not know it, left out up to one draw in twenty.
        clusters: how many there were to draw from.
        level: nominal coverage.

    Returns:
        The interval; unknown with fewer than two clusters.

    Source: Hesterberg 2015, "What teachers should know about the bootstrap", The American Statistician 69(4), 4.3.
    """
    from scipy.stats import norm, t

    known = samples[~np.isnan(samples)]
    if clusters < 2 or len(known) < (1 - UNKNOWN_SHARE) * len(samples):
        return UNKNOWN
    tail = float(norm.cdf(math.sqrt(clusters / (clusters - 1)) * t.ppf((1 - level) / 2, clusters - 1)))
    low, high = np.quantile(known, [tail, 1 - tail])
    return Interval(float(low), float(high))
