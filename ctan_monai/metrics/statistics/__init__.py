"""How sure one can be of a difference between methods: intervals, tests, and how many cases would show it."""

from ctan_monai.metrics.statistics.bootstrap import Interval, bootstrap, expanded_interval
from ctan_monai.metrics.statistics.holm import holm
from ctan_monai.metrics.statistics.paired import Test, bootstrap_test, delong_test, wilcoxon_test
from ctan_monai.metrics.statistics.verdict import Verdict, cases_needed, verdict

__all__ = [
    "Interval",
    "Test",
    "Verdict",
    "bootstrap",
    "bootstrap_test",
    "cases_needed",
    "delong_test",
    "expanded_interval",
    "holm",
    "verdict",
    "wilcoxon_test",
]
