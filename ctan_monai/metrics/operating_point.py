"""Operating points of findings: thresholds chosen by one set of cases, and metrics of yes and no at them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ctan_monai.errors import ConfigError
from ctan_monai.metrics.base import NAN, known_mean
from ctan_monai.metrics.classification import FindingAnswers, recall
from ctan_monai.tasks import Classification

USUAL = 0.5
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def best_threshold(probs: Floats, truth: Bools) -> float | None:
    """Choose the threshold with the highest balanced accuracy (Youden's index).

    Args:
        probs: (N,) probabilities.
        truth: (N,) whether the finding is there.

    Returns:
        A threshold between two probabilities, of several that are as good the one nearest to 0.5; None where one of
        both classes does not occur.

    Source: Youden, "Index for rating diagnostic tests", Cancer 1950.

    >>> best_threshold(np.array([0.1, 0.2, 0.4]), np.array([False, False, True]))
    0.30000000000000004
    """
    if truth.all() or not truth.any():
        return None
    values = np.unique(probs)
    middles = [USUAL, *((values[1:] + values[:-1]) / 2).tolist()]
    quality = {float(cut): recall(probs >= cut, truth) + recall(probs < cut, ~truth) for cut in middles}
    return min(quality, key=lambda cut: (-quality[cut], abs(cut - USUAL)))


def yes_no_metrics(yes: Bools, truth: Bools) -> dict[str, float]:
    """Compute the metrics of yes and no, nan where they are not defined.

    >>> found = yes_no_metrics(np.array([True, True, False, False]), np.array([True, False, True, False]))
    >>> found["f1"], found["fpr"], found["fnr"]
    (0.5, 0.5, 0.5)
    """
    sensitivity, specificity = recall(yes, truth), recall(~yes, ~truth)
    counted = int(yes.sum()) + int(truth.sum())
    return {
        "accuracy": known_mean((yes == truth).astype(np.float64)),
        "balanced_accuracy": (sensitivity + specificity) / 2,
        "sensitivity": sensitivity,
        "specificity": specificity,
        "f1": 2 * float((yes & truth).sum()) / counted if counted else NAN,
        "fpr": 1 - specificity,
        "fnr": 1 - sensitivity,
    }


class OperatingPoint(FindingAnswers):
    """Compute the metrics of yes and no at 0.5 and at a threshold that was chosen by other cases.

    For a task named ``diagnosis``: ``diagnosis_f1``, ``diagnosis_fpr`` and ``diagnosis_fnr`` at 0.5, where
    `FindingAnswers` has the others; and under ``diagnosis_operating_`` all of `yes_no_metrics` and the ``threshold``.
    Of several classes the mean over those for which a value is known.

    Args:
        task: the classification that is measured.
        thresholds: by class, in [0, 1]; without one it is 0.5.

    Raises:
        ConfigError: the classes exclude each other, or a threshold is out of range or of no class.
    """

    def __init__(self, task: Classification, thresholds: Mapping[str, float] | None = None) -> None:
        if task.exclusive:
            raise ConfigError("OperatingPoint", f"the classes of {task.name} exclude each other.", "Give findings.")
        super().__init__(task)
        given = dict(thresholds or {})
        if set(given) - set(task.classes) or not all(0 <= value <= 1 for value in given.values()):
            raise ConfigError("OperatingPoint", f"{given} was found.", f"Give numbers from 0 to 1 for {task.classes}.")
        self.thresholds = [float(given.get(name, USUAL)) for name in task.classes]

    def compute(self) -> dict[str, float]:
        """Return the metrics; nan = nothing known, or a single class where both are needed."""
        probs, labels = self._known()  # (N, K) each
        truth, name = labels > 0.5, self.task.name
        usual = [yes_no_metrics(probs[:, k] >= USUAL, truth[:, k]) for k in range(truth.shape[1])]
        chosen = [yes_no_metrics(probs[:, k] >= cut, truth[:, k]) for k, cut in enumerate(self.thresholds)]
        return {
            **{f"{name}_{key}": known_mean(one[key] for one in usual) for key in ("f1", "fpr", "fnr")},
            f"{name}_operating_threshold": known_mean(self.thresholds),
            **{f"{name}_operating_{key}": known_mean(one[key] for one in chosen) for key in chosen[0]},
        }

    def selection(self) -> float | None:
        """Return None: it does not select the best model."""
        return None
