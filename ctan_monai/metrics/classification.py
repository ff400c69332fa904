"""Accuracy, balanced accuracy and AUROC of answers about a whole image."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from monai.metrics import compute_roc_auc
from numpy.typing import NDArray
from torch import as_tensor

from ctan_monai.metrics.base import NAN, Record, Tensors, known_mean
from ctan_monai.metrics.device_metric import DeviceMetric, Numbers, check_finite, finite_counts
from ctan_monai.tasks import Classification, present_key

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def auroc(score: Floats, positive: Bools) -> float:
    """Compute the area under the ROC curve; ties count half.

    Args:
        score: (N,) higher = more likely positive.
        positive: (N,) the truth.

    Returns:
        The area, nan where only one class occurs.
    """
    if positive.all() or not positive.any():
        return NAN
    return float(compute_roc_auc(as_tensor(score), as_tensor(positive.astype(np.float64))))


def recall(chosen: Bools, positive: Bools) -> float:
    """Compute the recall, nan without a positive case."""
    return float(chosen[positive].mean()) if positive.any() else NAN


class _Answers(DeviceMetric):
    """Store probabilities and label of every case; nan = unknown."""

    def __init__(self, task: Classification, labels: Sequence[str]) -> None:
        super().__init__()
        self.task = task
        self._prob_keys = [f"{task.name}_prob_{name}" for name in task.classes]
        self._label_keys = [f"{task.name}_{label}" for label in labels]

    def numbers(self, case: str, prediction: Tensors, target: Tensors, spacing_mm: Sequence[float]) -> Tensors:
        """Return probabilities (K,) and label of one case."""
        probs, labels = prediction[self.task.name], target[self.task.name]  # 1 class index, or K of 0/1
        known = target[present_key(self.task)]
        return {"probs": probs, "finite": finite_counts(probs), "labels": labels, "present": known}

    def record(self, case: str, numbers: Numbers) -> Record:
        """Record probabilities and label of one case.

        Raises:
            DataError: a probability is not finite.
        """
        check_finite(f"prediction of {self.task.name}", case, numbers["finite"])
        known, labels = bool(numbers["present"][0]), numbers["labels"]
        return {
            **dict(zip(self._prob_keys, numbers["probs"], strict=True)),
            **{key: label if known else NAN for key, label in zip(self._label_keys, labels, strict=True)},
        }

    def _known(self) -> tuple[Floats, Floats]:
        """Return probabilities (N, K) and labels (N, 1 or K) of the cases whose label is known."""
        known = [record for record in self.records if not math.isnan(record[self._label_keys[0]])]
        probs = np.array([[record[key] for key in self._prob_keys] for record in known], dtype=np.float64)
        labels = np.array([[record[key] for key in self._label_keys] for record in known], dtype=np.float64)
        return probs.reshape(-1, len(self._prob_keys)), labels.reshape(-1, len(self._label_keys))


class ExclusiveAnswers(_Answers):
    """Compute accuracy, balanced accuracy and AUROC of mutually exclusive classes; the answer is the most probable one.

    For a task named ``lesion``: ``lesion_accuracy`` (fraction of cases answered correctly),
    ``lesion_balanced_accuracy`` (mean recall of the classes that occur), ``lesion_auroc`` (one class against the rest,
    mean over the classes that occur). The paper's accuracy on HAM10000 lies below the majority class and is probably a
    balanced one: both are reported (docs/adr/0004, A17).

    Args:
        task: the classification that is measured.
    """

    def __init__(self, task: Classification) -> None:
        super().__init__(task, ["label"])

    def compute(self) -> dict[str, float]:
        """Return accuracy, balanced accuracy and AUROC; nan = nothing known, or a single class for the AUROC."""
        probs, labels = self._known()  # (N, K), (N, 1)
        truth, answer = labels[:, 0].astype(np.int64), probs.argmax(axis=1)
        classes = range(len(self.task.classes))
        return {
            f"{self.task.name}_accuracy": known_mean((answer == truth).astype(np.float64)),
            f"{self.task.name}_balanced_accuracy": known_mean(recall(answer == k, truth == k) for k in classes),
            f"{self.task.name}_auroc": known_mean(auroc(probs[:, k], truth == k) for k in classes),
        }

    def selection(self) -> float | None:
        """Return the balanced accuracy."""
        balanced = self.compute()[f"{self.task.name}_balanced_accuracy"]
        return None if math.isnan(balanced) else balanced


class FindingAnswers(_Answers):
    """Compute the metrics of binary or multi-label classification with a threshold of 0.5.

    Per class, then averaged over the classes for which it is known: ``<task>_auroc``, ``_accuracy``,
    ``_balanced_accuracy`` (of sensitivity and specificity), ``_sensitivity``, ``_specificity``. The AUROC uses the
    probabilities; computed from yes and no, as some papers do, it would equal the balanced accuracy.
    With several classes ``<task>_auroc_<class>`` too.

    Args:
        task: the classification that is measured.
    """

    def __init__(self, task: Classification) -> None:
        super().__init__(task, [f"label_{name}" for name in task.classes])

    def _binary_metrics(self, probs: Floats, truth: Bools) -> dict[str, float]:
        """Return the metrics of one class from its probabilities (N,) and its truth (N,)."""
        yes = probs >= 0.5
        sensitivity, specificity = recall(yes, truth), recall(~yes, ~truth)
        return {
            "auroc": auroc(probs, truth),
            "accuracy": known_mean((yes == truth).astype(np.float64)),
            "balanced_accuracy": (sensitivity + specificity) / 2,
            "sensitivity": sensitivity,
            "specificity": specificity,
        }

    def compute(self) -> dict[str, float]:
        """Return the metrics; nan = nothing known, or a single class where both are needed."""
        probs, labels = self._known()  # (N, K) each
        per_class = [self._binary_metrics(probs[:, k], labels[:, k] > 0.5) for k in range(len(self.task.classes))]
        metrics = {f"{self.task.name}_{name}": known_mean(one[name] for one in per_class) for name in per_class[0]}
        if len(per_class) > 1:
            pairs = zip(self.task.classes, per_class, strict=True)
            metrics |= {f"{self.task.name}_auroc_{name}": one["auroc"] for name, one in pairs}
        return metrics

    def selection(self) -> float | None:
        """Return the AUROC."""
        area = self.compute()[f"{self.task.name}_auroc"]
        return None if math.isnan(area) else area
