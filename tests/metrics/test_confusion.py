import math

import numpy as np
import pytest
import torch

from ctan_monai.errors import ConfigError
from ctan_monai.metrics.classification import ExclusiveAnswers
from ctan_monai.metrics.confusion import ClassDetails, confusion_matrix
from ctan_monai.tasks import Classification

LESION = Classification("lesion", ["nv", "mel", "df"])


def fed(metric, answers, labels, known=None):
    for number, (answer, label) in enumerate(zip(answers, labels, strict=True)):
        present = torch.tensor(True if known is None else bool(known[number]))
        target = {"lesion": torch.tensor(int(label)), "lesion_present": present}
        metric.update(str(number), {"lesion": torch.eye(3)[answer]}, target, ())
    return metric


def test_rows_are_the_truth_and_columns_the_answers():
    metric = fed(ClassDetails(LESION), [0, 1, 1, 2, 0], [0, 0, 1, 1, 1], [True, True, True, True, False])
    assert metric.matrix().tolist() == [[1, 1, 0], [0, 1, 1], [0, 0, 0]]


def test_recalls_and_the_best_constant_answer_by_hand():
    metrics = fed(ClassDetails(LESION), [0, 0, 0, 1, 0], [0, 0, 0, 1, 1]).compute()
    assert metrics["lesion_recall_nv"] == 1
    assert metrics["lesion_recall_mel"] == 0.5
    assert math.isnan(metrics["lesion_recall_df"])
    assert metrics["lesion_majority_accuracy"] == 3 / 5
    assert metrics["lesion_majority_balanced_accuracy"] == 1 / 2


def test_the_majority_metrics_are_what_always_answering_it_scores():
    labels = np.random.default_rng(0).choice(3, 100, p=[0.6, 0.3, 0.1])
    constant = fed(ExclusiveAnswers(LESION), [0] * 100, labels).compute()
    details = fed(ClassDetails(LESION), np.random.default_rng(1).integers(0, 3, 100), labels).compute()
    assert details["lesion_majority_accuracy"] == constant["lesion_accuracy"]
    assert details["lesion_majority_balanced_accuracy"] == pytest.approx(constant["lesion_balanced_accuracy"])


def test_balanced_accuracy_is_the_mean_of_the_recalls():
    answers, labels = np.random.default_rng(3).integers(0, 3, (2, 60))
    recalls = [value for key, value in fed(ClassDetails(LESION), answers, labels).compute().items() if "recall" in key]
    balanced = fed(ExclusiveAnswers(LESION), answers, labels).compute()["lesion_balanced_accuracy"]
    assert np.mean(recalls) == pytest.approx(balanced)
    assert recalls == pytest.approx(list(np.diag(m := confusion_matrix(labels, answers, 3)) / m.sum(1)))


@pytest.mark.filterwarnings("error")
def test_nothing_known_is_nan_and_details_choose_no_model():
    metric = fed(ClassDetails(LESION), [0], [0], [False])
    assert all(math.isnan(value) for value in metric.compute().values())
    assert metric.matrix().sum() == 0
    assert metric.selection() is None
    assert all(math.isnan(value) for value in ClassDetails(LESION).compute().values())


def test_findings_that_may_hold_together_are_refused():
    with pytest.raises(ConfigError, match="ClassDetails"):
        ClassDetails(Classification("findings", ["a", "b"], multilabel=True))
