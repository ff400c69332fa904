"""Metrics of a finding that presupposes another: over all cases, and among those that have the other."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from torch import Tensor

from ctan_monai.errors import ConfigError
from ctan_monai.metrics.base import NAN, CaseMetric, Record, check_finite
from ctan_monai.metrics.classification import auroc
from ctan_monai.tasks import Classification, present_key


class GivenFinding(CaseMetric):
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

    def measure(
        self, case: str, prediction: Mapping[str, Tensor], target: Mapping[str, Tensor], spacing_mm: Sequence[float]
    ) -> Record:
        """Record the probability and both labels of one case.

        Raises:
            DataError: the probability is not finite.
        """
        name, given = self.task.name, self.given.name
        check_finite(f"prediction of {name}", case, prediction[name])
        has = _label(self.given, target)
        return {
            f"{name}_prob_given": float(prediction[name]),
            f"{name}_label_over_all": 0.0 if has == 0 else _label(self.task, target),
            f"{name}_label_among_{given}": _label(self.task, target) if has == 1 else NAN,
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


def _label(task: Classification, target: Mapping[str, Tensor]) -> float:
    return float(target[task.name]) if bool(target[present_key(task)]) else math.nan
