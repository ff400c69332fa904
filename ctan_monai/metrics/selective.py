"""Risk and coverage of a classifier that leaves its least sure cases to somebody else."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def risk_coverage(confidence: Floats, loss: Floats) -> tuple[Floats, Floats]:
    """Return the mean loss over the most confident cases, for each number of cases.

    Cases with equal confidence are answered together, for no rule could tell them apart.

    Args:
        confidence: (n,) of the answer, higher is surer.
        loss: (n,), such as 1 where the answer is wrong; nan = unknown, left out with its confidence.

    Returns:
        Coverage, the fraction of cases that are answered, rising to 1, and risk, their mean loss; (m,) each.

    Source: El-Yaniv, Wiener 2010, "On the foundations of noise-free selective classification".

    >>> coverage, risk = risk_coverage(np.array([0.9, 0.6, 0.8, 0.6]), np.array([0.0, 1.0, 0.0, 0.0]))
    >>> coverage.tolist(), risk.tolist()
    ([0.25, 0.5, 1.0], [0.0, 0.0, 0.25])
    """
    known = ~np.isnan(loss)
    order = np.argsort(-confidence[known], kind="stable")
    sorted_confidence, sorted_loss = confidence[known][order], loss[known][order]
    count = np.arange(1, len(order) + 1, dtype=np.float64)
    last = np.append(sorted_confidence[1:] != sorted_confidence[:-1], True)[: len(order)]
    risk: Floats = np.cumsum(sorted_loss) / count
    return count[last] / max(len(order), 1), risk[last]


def area_under_risk(coverage: Floats, risk: Floats) -> float:
    """Return the mean risk over all coverages (AURC), lower is better: of a random order it is the error rate.

    Source: Geifman, Uziel, El-Yaniv 2019, "Bias-reduced uncertainty estimation for deep neural classifiers".
    """
    if not len(coverage):
        return float("nan")
    return float(np.sum(np.diff(coverage, prepend=0.0) * risk))
