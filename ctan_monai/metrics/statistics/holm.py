"""Holm's correction for several tests."""

from __future__ import annotations

import math
from collections.abc import Sequence


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
