"""Paired tests of two methods on the same cases, Holm's correction, and the verdict over seeds."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ctan_monai.metrics.statistics.bootstrap import Interval

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Verdict = Literal["better", "worse", "not shown", "given these seeds"]
SEEDS_FOR_VERDICTS = 5
_LEVEL = 0.05


@dataclass(frozen=True)
class Test:
    """A two-sided test.

    Args:
        name: of the test.
        p: its p-value, nan where it cannot be made.
        units: number of independent observations.
    """

    __test__ = False  # pytest takes classes of this name for its own

    name: str
    p: float
    units: int


def cluster_means(values: Floats, groups: Sequence[Hashable]) -> Floats:
    """Compute the means of known values within each cluster, (N,) -> (G,); clusters without one are left out.

    >>> cluster_means(np.array([1.0, 3.0, np.nan, 5.0]), ["a", "a", "b", "c"]).tolist()
    [2.0, 5.0]
    """
    known = ~np.isnan(values)
    names = np.asarray([str(group) for group in groups])[known]
    _, cluster = np.unique(names, return_inverse=True)
    sums, counts = np.bincount(cluster, values[known]), np.bincount(cluster)
    means: Floats = sums / np.maximum(counts, 1)
    return means


def wilcoxon_test(differences: Floats, groups: Sequence[Hashable]) -> Test:
    """Compute Wilcoxon's signed-rank test of paired differences, after averaging within clusters.

    Args:
        differences: (N,) one method's value minus the other's; nan = unknown, left out.
        groups: for each case its cluster.

    Returns:
        The test; p is 1 where nothing differs, nan with fewer than two clusters.
    """
    from scipy.stats import wilcoxon

    means = cluster_means(differences, groups)
    if len(means) < 2:
        return Test("Wilcoxon", math.nan, len(means))
    p = float(wilcoxon(means).pvalue) if np.any(means != 0) else 1.0
    return Test("Wilcoxon", p, len(means))


def bootstrap_test(samples: Floats, clusters: int) -> Test:
    """Test whether a bootstrapped difference is 0: twice the fraction of draws on the other side of 0.

    Args:
        samples: (draws,) of the difference; nan = unknown in this draw.
        clusters: how many there were to draw from.
    """
    known = samples[~np.isnan(samples)]
    if clusters < 2 or not len(known):
        return Test("bootstrap", math.nan, clusters)
    below, above = float((known <= 0).sum()), float((known >= 0).sum())
    return Test("bootstrap", min(1.0, 2 * (1 + min(below, above)) / (len(known) + 1)), clusters)


def delong_test(
    ours: Sequence[Floats], theirs: Sequence[Floats], positive: Bools, groups: Sequence[Hashable] | None = None
) -> Test:
    """Test the difference of two AUROCs, each the mean over seeds, on the same cases.

    Args:
        ours: for each seed the scores (N,) of one method.
        theirs: those of the other.
        positive: (N,) the truth.
        groups: for each case its cluster; None: every case is one.

    Returns:
        The test; p is 1 where the scores give the same components everywhere, nan where only one class occurs or a
        class comes from a single cluster.

    Source: DeLong, DeLong, Clarke-Pearson 1988; for clusters Obuchowski 1997, "Nonparametric analysis of clustered ROC
    curve data", which is the same for clusters of one case but for the covariance between classes, then 0.
    """
    from scipy.stats import norm

    names = np.arange(len(positive)) if groups is None else np.asarray([str(group) for group in groups])
    _, cluster = np.unique(names, return_inverse=True)
    units = int(cluster.max()) + 1 if len(cluster) else 0
    if min(len(set(cluster[positive])), len(set(cluster[~positive]))) < 2:
        return Test("DeLong", math.nan, units)
    parts = np.mean([placements(score, positive) for score in ours], axis=0)
    difference = parts - np.mean([placements(score, positive) for score in theirs], axis=0)  # (N,)
    mean = float(difference[positive].mean())
    variance = _variance(difference - mean, positive, cluster, units)
    if variance <= 0:
        return Test("DeLong", 1.0 if mean == 0 else math.nan, units)
    return Test("DeLong", float(2 * norm.sf(abs(mean) / math.sqrt(variance))), units)


def placements(score: Floats, positive: Bools) -> Floats:
    """Return DeLong's structural components, (N,): the fraction of the other class that a case is ranked right to.

    A tie counts half. Their mean over the positives, and over the negatives, is the AUROC.
    """
    from scipy.stats import rankdata

    overall, inside = rankdata(score), np.empty(len(score))
    inside[positive], inside[~positive] = rankdata(score[positive]), rankdata(score[~positive])
    others = np.where(positive, (~positive).sum(), positive.sum())
    beaten = overall - inside  # cases of the other class below, ties half
    found: Floats = np.where(positive, beaten, others - beaten) / others
    return found


def _variance(centerd: Floats, positive: Bools, cluster: NDArray[np.int64], units: int) -> float:
    """Return the variance of the mean of the positives' and the negatives' components together."""
    sums = [np.bincount(cluster[side], centerd[side], units) for side in (positive, ~positive)]
    counts = [int(side.sum()) for side in (positive, ~positive)]
    held = [len(set(cluster[side])) for side in (positive, ~positive)]  # clusters with a case of the class
    own = sum(n / (n - 1) * float(total @ total) / count**2 for total, count, n in zip(sums, counts, held, strict=True))
    both = units / (units - 1) * float(sums[0] @ sums[1]) / (counts[0] * counts[1])
    return float(own + 2 * both)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values such that the chance of any false discovery among them stays below the level.

    Args:
        p_values: of one family of tests; nan = there is no test, which does not count.

    Returns:
        Adjusted values in the same order, at most 1.

    Source: Holm 1979, "A simple sequentially rejective multiple test procedure".

    >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03])]  # 3 x .01; 2 x .03; 1 x .04, but not below the one before
    [0.03, 0.06, 0.06]
    """
    known = sorted((value, index) for index, value in enumerate(p_values) if not math.isnan(value))
    adjusted = [math.nan] * len(p_values)
    largest = 0.0
    for position, (value, index) in enumerate(known):
        largest = max(largest, min(1.0, (len(known) - position) * value))
        adjusted[index] = largest
    return adjusted


def verdict(interval: Interval, p_adjusted: float, seeds: int) -> Verdict:
    """Return the verdict on an improvement (positive = better) from its interval and its adjusted p-value.

    A difference whose interval contains 0 is never called one; neither is one whose interval or test is unknown. With
    fewer than five seeds there is no verdict: what is known holds for the networks that were trained.

    >>> verdict(Interval(0.1, 3.0), 0.01, seeds=5), verdict(Interval(-2.0, -0.5), 0.2, seeds=5)
    ('better', 'not shown')
    >>> verdict(Interval(0.1, 3.0), 0.01, seeds=3)
    'given these seeds'
    """
    if seeds < SEEDS_FOR_VERDICTS:
        return "given these seeds"
    if not interval.known or interval.holds(0.0) or not p_adjusted < _LEVEL:
        return "not shown"
    return "better" if interval.low > 0 else "worse"
