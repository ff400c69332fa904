"""Split conformal prediction: coverage over simulated splits, whatever the distribution."""

import math

import numpy as np
import pytest

from ctan_monai.errors import ConfigError
from ctan_monai.metrics.conformal import class_scores, class_sets, conformal_quantile

SPLITS, VALIDATION, TEST = 2000, 60, 200


def test_intervals_at_90_percent_hold_the_truth_in_88_to_92_of_100_over_2000_splits():
    random = np.random.default_rng(5)
    held = []
    for _ in range(SPLITS):
        spread = random.lognormal(0, 1, VALIDATION + TEST)  # errors of very different size, skewed
        errors = abs(random.standard_t(3, VALIDATION + TEST) * spread)
        held.append(np.mean(errors[VALIDATION:] <= conformal_quantile(errors[:VALIDATION], 0.9)))
    assert 0.88 <= np.mean(held) <= 0.92
    assert np.mean(held) >= 0.9 - 3 * np.std(held) / math.sqrt(SPLITS)


def test_class_sets_hold_the_true_class_as_often_also_where_probabilities_are_wrong():
    random = np.random.default_rng(6)
    held = []
    for _ in range(SPLITS):
        probs = random.dirichlet([1.0, 1.0, 1.0], VALIDATION + TEST)
        sharp = probs**3 / (probs**3).sum(1, keepdims=True)  # what the network says: far too sure
        truth = (probs.cumsum(1) < random.random((len(probs), 1))).sum(1)
        bound = conformal_quantile(class_scores(sharp[:VALIDATION], truth[:VALIDATION]), 0.9)
        sets = class_sets(sharp[VALIDATION:], bound)
        held.append(sets[np.arange(TEST), truth[VALIDATION:]].mean())
    assert 0.88 <= np.mean(held) <= 0.92


def test_the_bound_is_a_value_that_enough_scores_reach_and_infinite_where_there_are_too_few():
    scores = np.array([5.0, 1.0, np.nan, 4.0, 2.0, 3.0, 9.0, 8.0, 7.0, 6.0])  # nine known: the ninth of ten places
    assert conformal_quantile(scores, 0.9) == 9.0
    assert conformal_quantile(scores, 0.5) == 5.0
    assert conformal_quantile(scores, 0.95) == math.inf
    for level in (0, 1, 90):
        with pytest.raises(ConfigError, match="level"):
            conformal_quantile(scores, level)
