"""Statistics of a difference between methods: intervals, tests, and the seeds and cases needed to show it."""

from ctan_monai.metrics.statistics.bootstrap import Interval, bootstrap, expanded_interval
from ctan_monai.metrics.statistics.crossed import Crossed, crossed, crossed_error
from ctan_monai.metrics.statistics.paired import (
    SEEDS_FOR_VERDICTS,
    Test,
    Verdict,
    bootstrap_test,
    delong_test,
    holm,
    verdict,
    wilcoxon_test,
)

__all__ = [
    "SEEDS_FOR_VERDICTS",
    "Crossed",
    "Interval",
    "Test",
    "Verdict",
    "bootstrap",
    "bootstrap_test",
    "crossed",
    "crossed_error",
    "delong_test",
    "expanded_interval",
    "holm",
    "verdict",
    "wilcoxon_test",
]
