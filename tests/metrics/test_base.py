"""One record per case: duplicates, order, and processes that share the cases."""

import math

import pytest

from ctan_monai.metrics.base import CaseMetric, known_mean


class Sum(CaseMetric):
    """A metric as small as can be: the record is what the prediction says."""

    def measure(self, case, prediction, target, spacing_mm):
        return {"sum": prediction["x"]}

    def compute(self):
        return {"sum": self.mean("sum")}


def measured(**cases):
    metric = Sum()
    for case, value in cases.items():
        metric.update(case, {"x": value}, {}, (1.0,))
    return metric


def test_a_case_that_is_seen_twice_counts_once_and_the_first_time_wins():
    metric = measured(a=1.0, b=3.0)
    metric.update("a", {"x": 100.0}, {}, (1.0,))
    assert metric.compute() == {"sum": 2.0}
    assert metric.rows() == [{"case": "a", "sum": 1.0}, {"case": "b", "sum": 3.0}]


def test_a_case_that_is_known_already_is_not_measured_again():
    metric = measured(a=1.0)
    metric.update("a", {}, {}, (1.0,))  # measuring an empty prediction would raise KeyError
    assert metric.compute() == {"sum": 1.0}


def test_two_processes_that_share_the_cases_get_what_one_process_gets_to_the_last_bit():
    values = {f"pt_{i}": 0.1 * 3**i for i in range(12)}
    alone = measured(**values)
    names = list(values)
    shards = [measured(**{n: values[n] for n in names[rank::2][::-1]}) for rank in range(2)]
    shards[1].update(names[0], {"x": -1.0}, {}, (1.0,))  # the sampler's padding
    states = [shard.state() for shard in shards]
    for shard in shards:
        shard.merge(states)
        assert shard.compute() == alone.compute()
        assert shard.rows() == alone.rows()


def test_merging_only_what_the_others_saw_keeps_what_this_process_saw():
    metric = measured(a=1.0)
    metric.merge([measured(b=5.0).state()])
    assert metric.compute() == {"sum": 3.0}


def test_a_state_does_not_change_when_the_metric_goes_on():
    metric = measured(a=1.0)
    state = metric.state()
    metric.update("b", {"x": 2.0}, {}, (1.0,))
    assert list(state) == ["a"]


def test_reset_forgets_every_case():
    metric = measured(a=1.0)
    metric.reset()
    assert metric.rows() == []
    assert math.isnan(metric.compute()["sum"])


def test_rows_come_in_the_order_in_which_a_person_counts():
    metric = measured(pt_10=1.0, pt_9=1.0, other=1.0, pt_100=1.0)
    assert [row["case"] for row in metric.rows()] == ["other", "pt_9", "pt_10", "pt_100"]


def test_the_mean_leaves_out_what_is_unknown_and_is_exact():
    assert known_mean([1.0, math.nan, 3.0]) == 2.0
    assert math.isnan(known_mean([math.nan]))
    assert known_mean([1e16, 1.0, -1e16]) == pytest.approx(1 / 3, abs=0)
