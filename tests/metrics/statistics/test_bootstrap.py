"""The primary interval holds the truth as often as it says, for means, ratios and metrics that are no mean."""

import math

import numpy as np
import pytest

from ctan_monai.errors import ConfigError
from ctan_monai.metrics.delta import delta_task
from ctan_monai.metrics.main_metric import main_metric_for
from ctan_monai.metrics.statistics import bootstrap, expanded_interval
from ctan_monai.tasks import Classification

SIMULATIONS = 600  # the standard error of a coverage of 95 % is then 0.9 %


def lesions(random, clusters):
    """Draw clusters of one to three cases, each cluster with an effect of its own."""
    sizes = random.integers(1, 4, clusters)
    group = np.repeat(np.arange(clusters), sizes)
    return group, random.normal(0, 1, clusters)[group]


def coverage(simulate, truth, clusters, draws=400):
    held = []
    for number in range(SIMULATIONS):
        statistic, groups = simulate(np.random.default_rng([7, number]))
        samples = bootstrap(statistic, groups, draws, seed=number)[:, 0]
        held.append(expanded_interval(samples, clusters).holds(truth))
    return np.mean(held)


def test_the_interval_of_delta_covers_the_truth_as_often_as_it_says():
    clusters, baseline, method = 40, 0.70, 0.73

    def simulate(random):
        group, effect = lesions(random, clusters)
        both = [level + 0.08 * effect + random.normal(0, 0.05, len(group)) for level in (baseline, method)]
        values = np.stack(both, 1)  # (N, 2), paired: the cluster's effect is in both

        def delta(weights):
            means = weights @ values / weights.sum(1, keepdims=True)
            return 100 * (means[:, 1:] - means[:, :1]) / means[:, :1]

        return delta, group

    assert 0.92 <= coverage(simulate, delta_task(baseline, method, True), clusters) <= 0.98


def test_with_fifteen_patients_and_skewed_errors_it_still_does():
    clusters = 15

    def simulate(random):
        values = random.gamma(4.0, 0.5, clusters)  # mean 2, as dose errors are: skewed
        return lambda weights: (weights @ values / weights.sum(1))[:, None], np.arange(clusters)

    assert 0.92 <= coverage(simulate, 2.0, clusters) <= 0.98


def test_the_interval_of_a_difference_in_balanced_accuracy_covers_the_truth():
    clusters = 60
    metric = main_metric_for(Classification("d", ["a", "b", "c"]))
    right = np.array([[0.9, 0.6, 0.3], [0.7, 0.5, 0.3]])  # chance to be right, by method and class

    def simulate(random):
        truth = random.choice(3, clusters, p=[0.5, 0.3, 0.2])
        tables = []
        for chances in right:
            answer = np.where(random.random(clusters) < chances[truth], truth, (truth + 1) % 3)
            tables.append(np.column_stack([np.eye(3)[answer], truth]).astype(float))

        def difference(weights):
            one, other = (metric.compute_weighted(table, weights) for table in tables)
            return (one - other)[:, None]

        return difference, np.arange(clusters)

    assert 0.92 <= coverage(simulate, np.mean(right[0] - right[1]), clusters) <= 0.98


def test_cases_of_a_cluster_are_drawn_together():
    seen = []
    bootstrap(lambda w: seen.append(w) or w[:, :1], ["a", "a", "b", "b", "b"], draws=50)
    weights = np.concatenate(seen)
    assert (weights[:, 0] == weights[:, 1]).all()
    assert (weights[:, 2] == weights[:, 4]).all()
    assert (weights[:, 0] + weights[:, 2] == 2).all()  # as many clusters as there are


def test_draws_depend_on_the_seed_alone():
    one, same, other = (bootstrap(lambda w: w[:, :2], range(9), 30, seed) for seed in (1, 1, 2))
    assert (one == same).all()
    assert (one != other).any()


def test_for_many_clusters_it_is_the_plain_percentile_interval():
    samples = np.random.default_rng(0).normal(size=4000)
    interval = expanded_interval(samples, 100_000)
    assert [interval.low, interval.high] == pytest.approx(np.quantile(samples, [0.025, 0.975]), abs=1e-3)


def test_for_few_clusters_it_is_that_of_student():
    """n normal values: mean -+ t s / sqrt(n); the bootstrap's spread is s sqrt((n-1)/n) / sqrt(n)."""
    clusters, spread = 8, 1.3
    samples = np.random.default_rng(1).normal(0, spread * math.sqrt(7 / 8) / math.sqrt(8), 400_000)
    half = 2.364624 * spread / math.sqrt(8)  # t(0.975, 7)
    interval = expanded_interval(samples, clusters)
    assert [interval.low, interval.high] == pytest.approx([-half, half], rel=0.02)


@pytest.mark.parametrize(("samples", "clusters"), [(np.ones(100), 1), (np.r_[np.ones(90), [np.nan] * 10], 50)])
def test_where_nothing_can_be_said_the_interval_is_unknown(samples, clusters):
    assert not expanded_interval(samples, clusters).known


def test_no_case_is_refused():
    with pytest.raises(ConfigError, match="bootstrap: 0 cases"):
        bootstrap(lambda w: w, [])
