"""How sure one can be of a difference between methods: intervals, tests, and how many seeds and cases would show it."""

from ctan_monai.metrics.statistics.bootstrap import Interval, bootstrap, expanded_interval
from ctan_monai.metrics.statistics.crossed import Crossed, crossed, crossed_error
from ctan_monai.metrics.statistics.holm import holm
from ctan_monai.metrics.statistics.paired import Test, bootstrap_test, delong_test, wilcoxon_test
from ctan_monai.metrics.statistics.verdict import SEEDS_FOR_VERDICTS, Verdict, verdict

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
