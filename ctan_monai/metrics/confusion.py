"""The confusion matrix, recall per class, and the score of a constant answer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ctan_monai.errors import ConfigError
from ctan_monai.metrics.base import NAN
from ctan_monai.metrics.classification import ExclusiveAnswers, recall
from ctan_monai.tasks import Classification


def confusion_matrix(truth: Sequence[int], answer: Sequence[int], classes: int) -> NDArray[np.int64]:
    """Compute the confusion matrix, (classes, classes): rows are true classes, columns answers.

    >>> confusion_matrix([0, 0, 1], [0, 1, 1], 2).tolist()
    [[1, 1], [0, 1]]
    """
    counts = np.zeros((classes, classes), np.int64)
    np.add.at(counts, (np.asarray(truth, int), np.asarray(answer, int)), 1)
    return counts


class ClassDetails(ExclusiveAnswers):
    """Compute the recall of each class, and the best score of a constant answer on the same cases.

    For a task named ``lesion``: ``lesion_recall_<class>`` (nan for a class that does not occur),
    ``lesion_majority_accuracy``, the share of the most frequent class, and ``lesion_majority_balanced_accuracy``, one
    over the number of classes that occur. A network has to beat them to have learned anything: on HAM10000 always
    saying nv is right in 66.9 % of cases (docs/adr/0004, A17).

    Args:
        task: the classification that is measured.

    Raises:
        ConfigError: the classes do not exclude each other.
    """

    def __init__(self, task: Classification) -> None:
        if not task.exclusive:
            raise ConfigError("ClassDetails", f"the classes of {task.name} may hold together.", "Give exclusive ones.")
        super().__init__(task)

    def compute(self) -> dict[str, float]:
        """Return the metrics; nan = nothing known."""
        matrix = self.matrix()
        name, occurring = self.task.name, matrix.sum(1)  # (K,) cases of each class
        probs, labels = self._known()  # (N, K), (N, 1)
        truth, answer = labels[:, 0].astype(np.int64), probs.argmax(1)
        recalls = {
            f"{name}_recall_{label}": recall(answer == index, truth == index)
            for index, label in enumerate(self.task.classes)
        }
        known = bool(occurring.sum())
        return {
            f"{name}_majority_accuracy": float(occurring.max() / occurring.sum()) if known else NAN,
            f"{name}_majority_balanced_accuracy": float(1 / np.count_nonzero(occurring)) if known else NAN,
            **recalls,
        }

    def matrix(self) -> NDArray[np.int64]:
        """Return the confusion matrix (K, K) of the cases whose class is known."""
        probs, labels = self._known()  # (N, K), (N, 1)
        return confusion_matrix(labels[:, 0].astype(int).tolist(), probs.argmax(1).tolist(), len(self.task.classes))

    def selection(self) -> float | None:
        """Return None: details do not select the best model."""
        return None
