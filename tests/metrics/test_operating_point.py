"""Operating points against thresholds tried one by one, and metrics counted by hand."""

import math

import numpy as np
import pytest
import torch

from ctan_monai.errors import ConfigError
from ctan_monai.metrics.operating_point import OperatingPoint, best_threshold, yes_no_metrics
from ctan_monai.metrics.segmentation import SegmentationJaccard
from ctan_monai.tasks import Classification, Segmentation

TASK = Classification("diagnosis", ["malignant"])
PROBS, TRUTH = [0.1, 0.2, 0.35, 0.3, 0.4, 0.9], [0, 0, 0, 1, 1, 1]


def filled(metric, probs=PROBS, truth=TRUTH):
    for number, (prob, label) in enumerate(zip(probs, truth, strict=True)):
        known = label is not None
        target = {"diagnosis": torch.tensor([float(label or 0)]), "diagnosis_present": torch.tensor(known)}
        metric.update(f"c{number}", {"diagnosis": torch.tensor([prob])}, target, (1.0, 1.0))
    return metric


@pytest.mark.parametrize("seed", range(5))
def test_no_threshold_has_a_higher_balanced_accuracy(seed):
    random = np.random.default_rng(seed)
    truth = random.random(30) < 0.4
    probs = np.clip(0.3 * truth + random.random(30) * 0.7, 0, 1)
    found = yes_no_metrics(probs >= best_threshold(probs, truth), truth)["balanced_accuracy"]
    tried = [yes_no_metrics(probs >= cut, truth)["balanced_accuracy"] for cut in np.linspace(0, 1, 1001)]
    assert found == pytest.approx(max(tried))


def test_of_equals_the_threshold_nearest_to_one_half_is_taken_and_one_class_has_none():
    assert best_threshold(np.array([0.1, 0.9]), np.array([False, True])) == 0.5
    assert best_threshold(np.array([0.1, 0.2]), np.array([False, False])) is None


def test_metrics_are_those_of_the_counts():
    """At 0.25: yes to 0.35, 0.3, 0.4 and 0.9, of which three are right; at 0.5 to 0.9 alone."""
    found = filled(OperatingPoint(TASK, {"malignant": 0.25})).compute()
    assert found["diagnosis_f1"] == pytest.approx(2 * 1 / (1 + 3))
    assert (found["diagnosis_fpr"], found["diagnosis_fnr"]) == pytest.approx((0, 2 / 3))
    assert found["diagnosis_operating_threshold"] == 0.25
    assert found["diagnosis_operating_accuracy"] == pytest.approx(5 / 6)
    assert found["diagnosis_operating_sensitivity"] == 1
    assert found["diagnosis_operating_specificity"] == pytest.approx(2 / 3)
    assert found["diagnosis_operating_balanced_accuracy"] == pytest.approx(5 / 6)
    assert found["diagnosis_operating_f1"] == pytest.approx(2 * 3 / (4 + 3))
    assert found["diagnosis_operating_fpr"] == pytest.approx(1 / 3)
    assert found["diagnosis_operating_fnr"] == 0


def test_unknown_cases_do_not_count_and_without_any_all_but_the_threshold_is_nan():
    with_unknown = filled(OperatingPoint(TASK), [*PROBS, 0.7], [*TRUTH, None]).compute()
    assert with_unknown == filled(OperatingPoint(TASK)).compute()
    nothing = filled(OperatingPoint(TASK), [0.7], [None]).compute()
    assert all(math.isnan(value) for name, value in nothing.items() if not name.endswith("threshold"))


@pytest.mark.parametrize(
    ("task", "thresholds"),
    [(TASK, {"benign": 0.5}), (TASK, {"malignant": 1.5}), (Classification("grade", ["a", "b"]), None)],
)
def test_thresholds_of_no_class_or_out_of_range_and_exclusive_classes_are_refused(task, thresholds):
    with pytest.raises(ConfigError, match="OperatingPoint"):
        OperatingPoint(task, thresholds)


def test_the_jaccard_index_is_intersection_over_union():
    task = Segmentation("tumor", ["tumor", "cyst"], overlapping=True)
    metric = SegmentationJaccard(task)
    label, predicted = torch.zeros(2, 2, 4, 4), torch.zeros(2, 2, 4, 4)
    label[0, 0, :2], predicted[0, 0, 1:3] = 1, 1  # 4 of 12 pixels
    label[0, 1, 0], predicted[0, 1, 0] = 1, 1
    present = torch.tensor([[True, True], [True, False]])  # in the second case: both empty, and unknown
    for case in range(2):
        target = {"tumor": label[case], "tumor_present": present[case]}
        metric.update(f"c{case}", {"tumor": predicted[case]}, target, (1.0, 1.0))
    found = metric.compute()
    assert found["tumor_jaccard_tumor"] == pytest.approx((1 / 3 + 1) / 2)
    assert found["tumor_jaccard_cyst"] == 1
    assert found["tumor_jaccard"] == pytest.approx(((1 / 3 + 1) / 2 + 1) / 2)
    assert metric.selection() is None
