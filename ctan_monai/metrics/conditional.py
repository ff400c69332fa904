"""Metrics of a finding that presupposes another: over all cases, and among those that have the other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from ctan_monai.errors import ConfigError
from ctan_monai.metrics.base import NAN, Record, Tensors
from ctan_monai.metrics.classification import auroc
from ctan_monai.metrics.device_metric import DeviceMetric, Numbers, check_finite, finite_counts
from ctan_monai.tasks import Classification, present_key


class GivenFinding(DeviceMetric):
    """Compute the AUROC of a finding that presupposes another one, over all cases and among those that have the other.

    For the tasks ``severe`` given ``covid``: ``severe_auroc_over_all``, in which cases without COVID-19 count as not
    severe, and ``severe_auroc_among_covid``, over the cases with it only, by which the STOIC challenge ranks. With the
    numbers of cases, ``severe_cases_over_all`` and ``severe_cases_among_covid``.

    Args:
        task: the finding, of one class.
        given: what it presupposes, of one class.

    Raises:
        ConfigError: a task has more than one class.
    """

    def __init__(self, task: Classification, given: Classification) -> None:
        super().__init__()
        if len(task.classes) != 1 or len(given.classes) != 1:
            raise ConfigError("GivenFinding", f"{task.name} given {given.name}.", "Name two tasks of one class each.")
        self.task, self.given = task, given

    def numbers(self, case: str, prediction: Tensors, target: Tensors, spacing_mm: Sequence[float]) -> Tensors:
        """Return the probability and both labels of one case."""
        probs, both = prediction[self.task.name], (self.task, self.given)
        labels = torch.stack([target[task.name].reshape(()) for task in both])
        known = torch.stack([target[present_key(task)] for task in both])
        return {"prob": probs, "finite": finite_counts(probs), "labels": labels, "present": known}

    def record(self, case: str, numbers: Numbers) -> Record:
        """Record the probability and both labels of one case.

        Raises:
            DataError: the probability is not finite.
        """
        name, given = self.task.name, self.given.name
        check_finite(f"prediction of {name}", case, numbers["finite"])
        pairs = zip(numbers["labels"], numbers["present"], strict=True)
        label, has = (value if known else NAN for value, known in pairs)
        return {
            f"{name}_prob_given": numbers["prob"][0],
            f"{name}_label_over_all": 0.0 if has == 0 else label,
            f"{name}_label_among_{given}": label if has == 1 else NAN,
        }

    def compute(self) -> dict[str, float]:
        """Return the metrics; nan where only one class is known."""
        name = self.task.name
        probs = np.array(self.values(f"{name}_prob_given"), np.float64)
        metrics: dict[str, float] = {}
        for among in ("over_all", f"among_{self.given.name}"):
            labels = np.array(self.values(f"{name}_label_{among}"), np.float64)
            known = ~np.isnan(labels)
            metrics[f"{name}_auroc_{among}"] = auroc(probs[known], labels[known] > 0.5)
            metrics[f"{name}_cases_{among}"] = float(known.sum())
        return metrics
