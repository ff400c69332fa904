"""Risk and coverage, against an enumeration of all thresholds."""

import numpy as np
import pytest

from ctan_monai.metrics.selective import area_under_risk, risk_coverage


def test_risk_is_the_error_rate_of_the_cases_above_each_threshold_also_with_ties():
    random = np.random.default_rng(3)
    confidence, wrong = np.round(random.uniform(0.5, 1, 200), 2), (random.random(200) < 0.3).astype(float)
    coverage, risk = risk_coverage(confidence, wrong)
    expected = [(np.mean(confidence >= cut), wrong[confidence >= cut].mean()) for cut in np.unique(confidence)[::-1]]
    np.testing.assert_allclose(np.stack([coverage, risk], 1), expected)
    assert coverage[-1] == 1
    assert risk[-1] == pytest.approx(wrong.mean())


def test_unknown_cases_are_left_out_and_none_give_no_curve():
    coverage, risk = risk_coverage(np.array([0.9, 0.8, 0.7]), np.array([0.0, np.nan, 1.0]))
    assert coverage.tolist() == [0.5, 1.0]
    assert risk.tolist() == [0.0, 0.5]
    assert len(risk_coverage(np.array([]), np.array([]))[0]) == 0
    assert np.isnan(area_under_risk(np.array([]), np.array([])))


def test_a_confidence_that_says_nothing_has_the_error_rate_and_one_that_knows_less():
    wrong = np.array([0.0, 1.0, 0.0, 1.0])
    assert area_under_risk(*risk_coverage(np.full(4, 0.7), wrong)) == 0.5
    assert area_under_risk(*risk_coverage(1 - wrong, wrong)) == pytest.approx(0.5 * 0.0 + 0.5 * 0.5)
