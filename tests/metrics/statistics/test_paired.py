"""Paired tests against scipy, permutations and hand computations; Holm's correction; verdicts."""

import math
from itertools import product

import numpy as np
import pytest
from scipy.stats import mannwhitneyu, norm, ttest_rel, wilcoxon

from ctan_monai.metrics.statistics import (
    Interval,
    bootstrap,
    bootstrap_test,
    delong_test,
    holm,
    verdict,
    wilcoxon_test,
)
from ctan_monai.metrics.statistics.paired import placements

RANDOM = np.random.default_rng(3)


def test_wilcoxon_of_single_cases_is_that_of_scipy():
    first, second = RANDOM.normal(0.7, 0.1, 30), RANDOM.normal(0.73, 0.1, 30)
    found = wilcoxon_test(second - first, range(30))
    assert found.p == pytest.approx(wilcoxon(second, first).pvalue, rel=1e-12)
    assert found.units == 30


def test_wilcoxon_of_five_equal_signs_is_two_in_thirty_two():
    assert wilcoxon_test(np.array([0.1, 0.2, 0.3, 0.4, 0.5]), range(5)).p == pytest.approx(2 / 32)


def test_wilcoxon_averages_the_cases_of_a_lesion_first():
    assert wilcoxon_test(np.array([1.0, 3.0, -1.0, 4.0, np.nan]), ["a", "a", "b", "c", "d"]) == wilcoxon_test(
        np.array([2.0, -1.0, 4.0]), ["a", "b", "c"]
    )


def test_wilcoxon_of_nothing_that_differs_is_1_and_of_one_patient_unknown():
    assert wilcoxon_test(np.zeros(4), range(4)).p == 1.0
    assert math.isnan(wilcoxon_test(np.array([0.5]), ["a"]).p)


def test_placements_average_to_the_area_that_scipy_finds():
    score, positive = np.round(RANDOM.random(40), 1), RANDOM.random(40) < 0.4  # with ties
    area = mannwhitneyu(score[positive], score[~positive]).statistic / (positive.sum() * (~positive).sum())
    found = placements(score, positive)
    assert found[positive].mean() == pytest.approx(area)
    assert found[~positive].mean() == pytest.approx(area)


def test_delong_by_hand():
    """Three positives, two negatives; components written out from the definition (DeLong 1988, eqs. 3 to 8)."""
    positive = np.array([True, True, True, False, False])
    ours, theirs = np.array([0.9, 0.8, 0.3, 0.4, 0.1]), np.array([0.7, 0.2, 0.6, 0.5, 0.4])

    def psi(x, y):
        return 1.0 if x > y else 0.5 if x == y else 0.0

    def components(score):
        yes, no = score[positive], score[~positive]
        return (
            np.array([np.mean([psi(x, y) for y in no]) for x in yes]),
            np.array([np.mean([psi(x, y) for x in yes]) for y in no]),
        )

    (a10, a01), (b10, b01) = components(ours), components(theirs)
    variance = np.var(a10 - b10, ddof=1) / 3 + np.var(a01 - b01, ddof=1) / 2
    expected = 2 * norm.sf(abs(a10.mean() - b10.mean()) / math.sqrt(variance))
    assert delong_test([ours], [theirs], positive).p == pytest.approx(expected)


def test_delong_agrees_with_the_bootstrap_also_for_clusters():
    random = np.random.default_rng(11)
    group = np.repeat(np.arange(150), 2)
    positive = np.repeat(random.random(150) < 0.4, 2)
    shared = np.repeat(random.normal(size=150), 2)
    scores = [positive * gain + shared + random.normal(size=300) for gain in (1.3, 1.0)]

    def difference(weights):
        areas = []
        for score in scores:
            above = (score[positive][:, None] > score[~positive]).astype(float)
            yes, no = weights[:, positive], weights[:, ~positive]
            areas.append(((yes @ above) * no).sum(1) / (yes.sum(1) * no.sum(1)))
        return (areas[0] - areas[1])[:, None]

    spread = bootstrap(difference, group, 2000)[:, 0].std()
    found = delong_test([scores[0]], [scores[1]], positive, group)
    z = norm.isf(found.p / 2)
    assert abs(difference(np.ones((1, 300)))[0, 0]) / z == pytest.approx(spread, rel=0.1)
    assert found.units == 150


def test_delong_of_equal_scores_is_1_and_of_one_class_unknown():
    score, positive = RANDOM.random(10), np.arange(10) < 4
    assert delong_test([score], [score], positive).p == 1.0
    assert math.isnan(delong_test([score], [1 - score], np.ones(10, bool)).p)


def test_the_bootstrapped_p_of_a_mean_is_close_to_the_t_tests():
    first = RANDOM.normal(0.70, 0.1, 60)
    second = first + RANDOM.normal(0.02, 0.08, 60)
    samples = bootstrap(lambda w: (w @ (second - first) / w.sum(1))[:, None], range(60), 5000)[:, 0]
    assert bootstrap_test(samples, 60).p == pytest.approx(ttest_rel(second, first).pvalue, abs=0.02)


def test_holm_by_hand():
    """Sorted .005, .01, .03, .04: times 4, 3, 2, 1 give .02, .03, .06, .04, and the last may not fall below .06."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_holm_stops_at_1_and_leaves_out_what_was_not_tested():
    found = holm([0.6, math.nan, 0.9])
    assert found[0] == 1.0
    assert math.isnan(found[1])
    assert found[2] == 1.0


def test_holm_with_one_test_changes_nothing():
    assert holm([0.03]) == [0.03]


@pytest.mark.parametrize(("low", "high", "p"), list(product([-1.0, 0.0], [0.0, 0.01, 3.0], [0.0, 0.2])))
def test_a_difference_whose_interval_contains_0_is_never_called_one(low, high, p):
    assert verdict(Interval(low, high), p, 10) == "not shown"


def test_what_is_unknown_or_not_significant_is_not_called_a_difference():
    assert verdict(Interval(math.nan, math.nan), 0.001, 5) == "not shown"
    assert verdict(Interval(1, 2), math.nan, 5) == "not shown"
    assert verdict(Interval(1, 2), 0.05, 5) == "not shown"
    assert verdict(Interval(1, 2), 0.049, 5) == "better"
    assert verdict(Interval(-2, -1), 0.001, 5) == "worse"


@pytest.mark.parametrize("seeds", [1, 2, 3, 4])
def test_below_five_seeds_there_is_no_verdict(seeds):
    assert verdict(Interval(1, 2), 1e-9, seeds) == "given these seeds"
