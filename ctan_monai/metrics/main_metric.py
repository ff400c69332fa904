"""The main metric of each task, by which methods are compared, computed from per-case values."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Hashable, Sequence
from functools import singledispatch

import numpy as np
from numpy.typing import NDArray

from ctan_monai.metrics.statistics.paired import Test, delong_test, wilcoxon_test
from ctan_monai.tasks import Classification, Regression, Segmentation, unregistered

Floats = NDArray[np.float64]


class MainMetric(ABC):
    """A metric that can be recomputed for any weights of the cases.

    Args:
        key: its name in an evaluation's summary.json.
        label: what it is, for a heading.
        unit: of the metric after ``factor``.
        factor: what the metric is multiplied by to be shown: 100 for shares.
        higher_is_better: l = 1 of CTAN's eq. 3.
        columns: what it needs of per_case.csv.
    """

    def __init__(
        self, key: str, label: str, unit: str, factor: float, higher_is_better: bool, columns: Sequence[str]
    ) -> None:
        self.key, self.label, self.unit, self.factor = key, label, unit, factor
        self.higher_is_better, self.columns = higher_is_better, tuple(columns)

    @abstractmethod
    def compute_weighted(self, values: Floats, weights: Floats) -> Floats:
        """Compute the metric for weighted cases, without ``factor``.

        Args:
            values: (N, C), the columns of N cases; nan = unknown.
            weights: (B, N), how often each case counts in each of B samples.

        Returns:
            (B,), nan where a sample knows nothing.
        """

    def compute(self, values: Floats) -> float:
        """Compute the metric over all cases with equal weights, without ``factor``."""
        return float(self.compute_weighted(values, np.ones((1, len(values))))[0])

    def case_values(self, values: Floats) -> Floats | None:
        """Return one number per case whose mean is the metric, None where there is no such number."""
        return None

    def case_order(self, values: Floats) -> Floats:
        """Return a score per case, (N,), higher is better, to find best and worst cases."""
        found = self.case_values(values)
        if found is None:
            return np.full(len(values), math.nan)
        return found if self.higher_is_better else -found

    def test(self, ours: Sequence[Floats], theirs: Sequence[Floats], groups: Sequence[Hashable]) -> Test | None:
        """Test the difference of two methods on the same cases.

        Args:
            ours: for each seed (N, C).
            theirs: likewise, with any number of seeds.
            groups: for each case its cluster.

        Returns:
            The test, None where only the bootstrap can.
        """
        one, other = ([self.case_values(values) for values in both] for both in (ours, theirs))
        if any(values is None for values in (*one, *other)):
            return None
        difference = np.mean(np.stack([v for v in one if v is not None]), 0)
        difference = difference - np.mean(np.stack([v for v in other if v is not None]), 0)
        return wilcoxon_test(difference, groups)


class CaseMean(MainMetric):
    """Compute the mean over cases of one column."""

    def compute_weighted(self, values: Floats, weights: Floats) -> Floats:
        """See the base class."""
        return _ratio(weights @ np.nan_to_num(values[:, 0]), weights @ ~np.isnan(values[:, 0]))

    def case_values(self, values: Floats) -> Floats:
        """Return the column."""
        return values[:, 0]


class BalancedAccuracy(MainMetric):
    """Compute the mean recall of the classes that occur; columns are the classes' probabilities and the label."""

    def compute_weighted(self, values: Floats, weights: Floats) -> Floats:
        """See the base class; a class that a sample lacks does not count there."""
        truth, right = values[:, -1], self._right(values)
        recalls = [
            _ratio(weights @ np.where(truth == k, right, 0.0), weights @ (truth == k))
            for k in range(values.shape[1] - 1)
        ]
        return _known_mean(np.stack(recalls))

    def case_order(self, values: Floats) -> Floats:
        """Return the probability of the true class."""
        known = ~np.isnan(values[:, -1])
        found = np.full(len(values), math.nan)
        found[known] = values[known, values[known, -1].astype(int)]
        return found

    @staticmethod
    def _right(values: Floats) -> Floats:
        right: Floats = (values[:, :-1].argmax(1) == values[:, -1]).astype(np.float64)
        return right


class MeanAuroc(MainMetric):
    """Compute the mean AUROC over findings; columns are all probabilities, then all labels."""

    def compute_weighted(self, values: Floats, weights: Floats) -> Floats:
        """See the base class; a finding that a sample has only one kind of does not count there."""
        scores, labels = np.split(values, 2, axis=1)  # (N, K) each
        areas = [_weighted_auroc(scores[:, k], labels[:, k], weights) for k in range(scores.shape[1])]
        return _known_mean(np.stack(areas))

    def case_order(self, values: Floats) -> Floats:
        """Return the mean probability of the true answers."""
        scores, labels = np.split(values, 2, axis=1)
        found: Floats = np.where(labels > 0.5, scores, 1 - scores).mean(1)
        return np.where(np.isnan(labels).any(1), math.nan, found)

    def test(self, ours: Sequence[Floats], theirs: Sequence[Floats], groups: Sequence[Hashable]) -> Test | None:
        """Return DeLong's test, None for several findings."""
        if ours[0].shape[1] != 2:
            return None
        known = ~np.isnan(ours[0][:, 1])
        one, other = ([values[known, 0] for values in both] for both in (ours, theirs))
        chosen = [group for group, here in zip(groups, known, strict=True) if here]
        return delong_test(one, other, ours[0][known, 1] > 0.5, chosen)


@singledispatch
def main_metric_for(task: object) -> MainMetric:
    """Create the main metric of a task, by which methods are compared.

    Raises:
        ConfigError: this kind of task has none.
    """
    raise unregistered(task, "main metric", "main_metric_for")


@main_metric_for.register
def _segmentation(task: Segmentation) -> MainMetric:
    key = f"{task.name}_dice"
    return CaseMean(key, "Dice", "%", 100.0, True, [key])


@main_metric_for.register
def _regression(task: Regression) -> MainMetric:
    place, words = "mae", ""
    if task.pixel_level:
        place, words = (
            ("mae_region", ", inside its region") if task.region == "mask" else ("mae_volume", ", all voxels")
        )
    key = f"{task.name}_{place}"
    return CaseMean(key, f"mean absolute error{words}", task.unit, 1.0, False, [key])


@main_metric_for.register
def _classification(task: Classification) -> MainMetric:
    probs = [f"{task.name}_prob_{name}" for name in task.classes]
    if task.exclusive:
        key = f"{task.name}_balanced_accuracy"
        return BalancedAccuracy(key, "balanced accuracy", "%", 100.0, True, [*probs, f"{task.name}_label"])
    labels = [f"{task.name}_label_{name}" for name in task.classes]
    return MeanAuroc(f"{task.name}_auroc", "AUROC", "%", 100.0, True, [*probs, *labels])


def _ratio(above: Floats, below: Floats) -> Floats:
    """Divide, nan where the denominator is 0."""
    found: Floats = np.divide(above, below, out=np.full(len(above), math.nan), where=below > 0)
    return found


def _known_mean(rows: Floats) -> Floats:
    """Compute the mean of (K, B) over known values, nan where none is known."""
    return _ratio(np.nan_to_num(rows).sum(0), (~np.isnan(rows)).sum(0).astype(np.float64))


def _weighted_auroc(score: Floats, label: Floats, weights: Floats) -> Floats:
    """Compute AUROCs (B,) from scores (N,), labels (N,) and weights (B, N); ties count half."""
    known = ~np.isnan(label)
    _, level = np.unique(score[known], return_inverse=True)  # ties share a level
    levels = int(level.max()) + 1 if len(level) else 0
    one_hot = np.zeros((int(known.sum()), levels))
    one_hot[np.arange(len(level)), level] = 1.0
    yes = (weights[:, known] * (label[known] > 0.5)) @ one_hot  # (B, levels)
    no = (weights[:, known] * (label[known] <= 0.5)) @ one_hot
    below = np.cumsum(no, axis=1) - no / 2
    return _ratio((yes * below).sum(1), yes.sum(1) * no.sum(1))
