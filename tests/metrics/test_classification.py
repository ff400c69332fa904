"""Against pairs counted one by one, SciPy's Mann-Whitney U, and confusion tables that fit on a napkin."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import mannwhitneyu

from ctan_monai.errors import DataError
from ctan_monai.metrics.classification import ExclusiveAnswers, FindingAnswers, auroc
from ctan_monai.tasks import Classification

SEVERE = Classification("severe", ["severe"])
LESION = Classification("lesion", ["nv", "mel", "df"])
FINDINGS = Classification("findings", ["covid", "severe"], multilabel=True)


def fed(metric, probs, labels, known=None):
    name = metric.task.name
    for number, (prob, label) in enumerate(zip(probs, labels, strict=True)):
        present = torch.tensor(True if known is None else known[number])
        target = {name: torch.tensor(label), f"{name}_present": present}
        metric.update(str(number), {name: torch.tensor(prob)}, target, ())
    return metric


def test_auroc_counts_the_pairs_in_the_right_order_and_half_the_ties():
    score, positive = np.array([0.1, 0.4, 0.4, 0.8]), np.array([False, False, True, True])
    assert auroc(score, positive) == (1 + 1 + 0.5 + 1) / 4


@pytest.mark.parametrize("levels", [3, 1000])
def test_auroc_is_the_mann_whitney_u_over_the_number_of_pairs(levels):
    rng = np.random.default_rng(levels)
    score, positive = rng.integers(0, levels, 200) / levels, rng.random(200) < 0.3
    u = mannwhitneyu(score[positive], score[~positive]).statistic
    assert auroc(score, positive) == pytest.approx(u / (positive.sum() * (~positive).sum()), abs=1e-12)


def test_auroc_depends_on_the_order_only_and_turns_over_with_the_scores():
    rng = np.random.default_rng(0)
    score, positive = rng.random(50), rng.random(50) < 0.5
    assert auroc(np.exp(5 * score), positive) == auroc(score, positive)
    assert auroc(-score, positive) == pytest.approx(1 - auroc(score, positive))


def test_a_binary_finding_at_one_half():
    metrics = fed(FindingAnswers(SEVERE), [[0.9], [0.5], [0.2], [0.7], [0.1]], [[1.0], [1.0], [1.0], [0.0], [0.0]])
    assert metrics.compute() == {
        "severe_auroc": pytest.approx((2 + 1 + 1) / 6),
        "severe_accuracy": pytest.approx(3 / 5),
        "severe_balanced_accuracy": pytest.approx((2 / 3 + 1 / 2) / 2),
        "severe_sensitivity": pytest.approx(2 / 3),
        "severe_specificity": pytest.approx(1 / 2),
    }
    assert metrics.selection() == pytest.approx(4 / 6)


def test_unknown_labels_are_left_out_but_their_rows_are_kept():
    probs, labels = [[0.9], [0.2], [0.1], [0.8]], [[1.0], [0.0], [0.0], [0.0]]
    metric = fed(FindingAnswers(SEVERE), probs, labels, known=[True, True, True, False])
    assert metric.compute()["severe_auroc"] == 1.0
    last = metric.rows()[-1]
    assert last["severe_prob_severe"] == pytest.approx(0.8)
    assert math.isnan(last["severe_label_severe"])


@pytest.mark.filterwarnings("error")
def test_one_class_only_gives_nan_and_no_selection_instead_of_a_crash_or_a_warning():
    metric = fed(FindingAnswers(SEVERE), [[0.9], [0.2]], [[1.0], [1.0]])
    metrics = metric.compute()
    assert math.isnan(metrics["severe_auroc"])
    assert math.isnan(metrics["severe_specificity"])
    assert metrics["severe_accuracy"] == 0.5
    assert metric.selection() is None


@pytest.mark.parametrize("metric", [FindingAnswers(SEVERE), FindingAnswers(FINDINGS), ExclusiveAnswers(LESION)])
def test_without_a_case_every_metric_is_nan(metric):
    assert all(math.isnan(value) for value in metric.compute().values())
    assert metric.selection() is None


def test_several_findings_are_averaged_over_those_that_are_known():
    probs, labels = [[0.9, 0.3], [0.4, 0.6], [0.6, 0.4]], [[1.0, 0.0], [1.0, 0.0], [0.0, 0.0]]
    metrics = fed(FindingAnswers(FINDINGS), probs, labels).compute()
    assert metrics["findings_auroc_covid"] == 0.5
    assert math.isnan(metrics["findings_auroc_severe"])
    assert metrics["findings_auroc"] == 0.5
    assert metrics["findings_accuracy"] == pytest.approx((1 / 3 + 2 / 3) / 2)


def test_balanced_accuracy_weighs_rare_classes_like_frequent_ones():
    always_nv = [[0.8, 0.1, 0.1]] * 4
    metric = fed(ExclusiveAnswers(LESION), always_nv, [0, 0, 0, 1])
    metrics = metric.compute()
    assert metrics["lesion_accuracy"] == 0.75
    assert metrics["lesion_balanced_accuracy"] == 0.5  # recall 1 and 0; df does not occur
    assert metrics["lesion_auroc"] == 0.5
    assert metric.selection() == 0.5


def test_the_macro_auroc_is_the_mean_of_one_against_the_rest():
    probs = [[0.7, 0.2, 0.1], [0.3, 0.5, 0.2], [0.4, 0.35, 0.25], [0.2, 0.2, 0.6]]
    metrics = fed(ExclusiveAnswers(LESION), probs, [0, 1, 1, 2]).compute()
    assert metrics["lesion_auroc"] == pytest.approx((1.0 + 1.0 + 1.0) / 3)
    assert metrics["lesion_accuracy"] == 0.75
    metrics = fed(ExclusiveAnswers(LESION), probs, [1, 0, 1, 2]).compute()
    assert metrics["lesion_auroc"] == pytest.approx((1 / 3 + 1.5 / 4 + 1.0) / 3)  # mel: one pair of 4 right, one tied


def test_a_probability_that_is_not_finite_is_refused():
    with pytest.raises(DataError, match="not finite"):
        fed(FindingAnswers(SEVERE), [[float("nan")]], [[1.0]])
