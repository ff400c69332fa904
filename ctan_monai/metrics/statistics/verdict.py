"""When a difference is called one, and how many cases would show it."""

from __future__ import annotations

import math
from typing import Literal

from ctan_monai.metrics.statistics.bootstrap import Interval

Verdict = Literal["better", "worse", "not shown"]
_LEVEL = 0.05


def verdict(interval: Interval, p_adjusted: float | None = None) -> Verdict:
    """Judge an improvement (positive = better) by its interval and, where there is a test, by its adjusted p-value.

    A difference whose interval contains 0 is never called one; neither is one whose interval or test is unknown.

    >>> verdict(Interval(0.1, 3.0)), verdict(Interval(-0.1, 3.0)), verdict(Interval(-2.0, -0.5), 0.2)
    ('better', 'not shown', 'not shown')
    """
    if not interval.known or interval.holds(0.0):
        return "not shown"
    if p_adjusted is not None and not p_adjusted < _LEVEL:
        return "not shown"
    return "better" if interval.low > 0 else "worse"


def cases_needed(difference: float, standard_error: float, clusters: int, power: float = 0.8) -> int | None:
    """Estimate how many clusters (patients, lesions) would show a difference of the size that was found.

    Two-sided test at 5 %; the standard error is taken to fall with the square root of the number of clusters. The
    difference that was found is itself uncertain, so this is an order of magnitude.

    Args:
        difference: that was found.
        standard_error: of it, on these clusters.
        clusters: how many there were.
        power: chance to see it.

    Returns:
        The number, None where there is no difference or nothing is known about its spread.

    >>> cases_needed(difference=1.0, standard_error=1.0, clusters=10)  # (1.96 + 0.84)^2 = 7.85
    79
    """
    from scipy.stats import norm

    if difference == 0 or math.isnan(difference) or not standard_error > 0:
        return None
    factor = float(norm.ppf(1 - _LEVEL / 2) + norm.ppf(power))
    return max(2, math.ceil(clusters * (factor * standard_error / difference) ** 2))
