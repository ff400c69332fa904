"""When a difference is called one."""

from __future__ import annotations

from typing import Literal

from ctan_monai.metrics.statistics.bootstrap import Interval

Verdict = Literal["better", "worse", "not shown", "given these seeds"]
SEEDS_FOR_VERDICTS = 5
_LEVEL = 0.05


def verdict(interval: Interval, p_adjusted: float, seeds: int) -> Verdict:
    """Judge an improvement (positive = better) by its interval over cases and seeds, and its adjusted p-value.

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
