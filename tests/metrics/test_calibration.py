import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from ctan_monai.errors import ConfigError
from ctan_monai.metrics.calibration import Calibration, FindingCalibration, expected_calibration_error
from ctan_monai.tasks import Classification

LESION = Classification("lesion", ["nv", "mel", "df"])


def fed(metric, probs, labels, known=None):
    for number, (prob, label) in enumerate(zip(probs, labels, strict=True)):
        present = torch.tensor(True if known is None else bool(known[number]))
        target = {"lesion": torch.tensor(int(label)), "lesion_present": present}
        metric.update(str(number), {"lesion": torch.as_tensor(prob)}, target, ())
    return metric.compute()


def test_who_is_right_as_often_as_announced_has_no_error():
    confidence = np.repeat([0.5, 0.8], 10)
    correct = np.array([True] * 5 + [False] * 5 + [True] * 8 + [False] * 2)
    assert expected_calibration_error(confidence, correct) == pytest.approx(0, abs=1e-12)


def test_who_is_sure_and_always_wrong_has_an_error_of_one():
    assert expected_calibration_error(np.ones(4), np.zeros(4, bool)) == 1


def test_three_bins_by_hand():
    confidence, correct = np.array([0.4, 0.6, 0.65, 0.9]), np.array([True, False, True, True])
    # bins of a third: {.4 .6 .65}: accuracy 2/3, confidence .55; {.9}: accuracy 1
    expected = 3 / 4 * abs(2 / 3 - 0.55) + 1 / 4 * 0.1
    assert expected_calibration_error(confidence, correct, 3) == pytest.approx(expected)


def test_it_equals_a_loop_over_the_bins():
    rng = np.random.default_rng(0)
    confidence, correct = rng.random(500), rng.random(500) < 0.5
    expected = 0.0
    for k in range(15):
        inside = (confidence > k / 15) & (confidence <= (k + 1) / 15)
        if inside.any():
            expected += inside.mean() * abs(correct[inside].mean() - confidence[inside].mean())
    assert expected_calibration_error(confidence, correct) == pytest.approx(expected)


def test_metrics_of_a_task_use_the_answers_probability_and_that_of_the_truth():
    logits = torch.from_numpy(np.random.default_rng(1).normal(size=(40, 3)))
    labels = np.random.default_rng(2).integers(0, 3, 40)
    metrics = fed(Calibration(LESION, bins=5), logits.softmax(1), labels)
    assert metrics["lesion_nll"] == pytest.approx(F.cross_entropy(logits, torch.from_numpy(labels)).item())
    top = logits.softmax(1).max(1)
    expected = expected_calibration_error(top.values.numpy(), top.indices.numpy() == labels, 5)
    assert metrics["lesion_ece"] == pytest.approx(expected)


def test_unknown_labels_are_left_out_and_nothing_known_is_nan():
    probs = [[0.6, 0.3, 0.1], [0.9, 0.05, 0.05]]
    assert fed(Calibration(LESION), probs, [0, 1], [True, False])["lesion_ece"] == pytest.approx(0.4)
    metric = Calibration(LESION)
    assert all(math.isnan(value) for value in fed(metric, probs, [0, 1], [False, False]).values())
    assert metric.selection() is None


def test_findings_that_may_hold_together_are_refused():
    with pytest.raises(ConfigError, match="Calibration"):
        Calibration(Classification("severe", ["severe"]))


def fed_finding(probs, labels, known=None):
    metric = FindingCalibration(Classification("covid", ["covid"]), bins=2)
    for number, (prob, label) in enumerate(zip(probs, labels, strict=True)):
        present = torch.tensor(True if known is None else bool(known[number]))
        target = {"covid": torch.tensor([float(label)]), "covid_present": present}
        metric.update(str(number), {"covid": torch.tensor([prob])}, target, ())
    return metric


def test_a_finding_by_hand():
    found = fed_finding([0.2, 0.4, 0.9, 0.7], [0, 1, 1, 1]).compute()
    # bins of a half: {.2 .4}: one of two, mean .3; {.9 .7}: two of two, mean .8
    assert found["covid_ece"] == pytest.approx((2 * 0.2 + 2 * 0.2) / 4)
    assert found["covid_brier"] == pytest.approx((0.04 + 0.36 + 0.01 + 0.09) / 4)
    given = torch.tensor([0.2, 0.4, 0.9, 0.7])
    expected = F.binary_cross_entropy(given, torch.tensor([0.0, 1.0, 1.0, 1.0]))
    assert found["covid_nll"] == pytest.approx(expected.item(), rel=1e-6)


def test_unknown_findings_count_nowhere_and_nothing_known_is_nan():
    some, more = fed_finding([0.2], [1]), fed_finding([0.2, 0.9], [1, 0], known=[1, 0])
    assert some.compute() == more.compute()
    assert all(math.isnan(value) for value in fed_finding([0.3], [1], known=[0]).compute().values())
    assert some.selection() is None


def test_classes_that_exclude_each_other_have_their_own_calibration():
    with pytest.raises(ConfigError, match="Give findings"):
        FindingCalibration(LESION)
