"""Naive baselines: answers that need no image."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import singledispatch
from typing import Any

import torch
from torch import Tensor

from ctan_monai.tasks import Classification, Regression, Segmentation, present_key, region_key, unregistered

Sample = Mapping[str, Any]


class NaiveBaseline(ABC):
    """Base class of a naive baseline, fitted to the labels of the training cases alone.

    Args:
        words: what it answers.
    """

    def __init__(self, words: str) -> None:
        self.words = words

    @abstractmethod
    def learn(self, sample: Sample) -> None:
        """Update the baseline by the label of a training case.

        Args:
            sample: flat dictionary of labels, presence and regions, without a batch axis.
        """

    @abstractmethod
    def answer(self, sample: Sample) -> Tensor:
        """Predict a case from no more than its shape and region, in the form that metrics expect."""


class Background(NaiveBaseline):
    """Predict background everywhere."""

    def __init__(self, task: Segmentation) -> None:
        super().__init__("all background")
        self._key = task.name

    def learn(self, sample: Sample) -> None:
        """Do nothing: the baseline has no parameters."""

    def answer(self, sample: Sample) -> Tensor:
        """Return (L, *S) of False."""
        return torch.zeros(sample[self._key].shape, dtype=torch.bool)


class MeanValue(NaiveBaseline):
    """Predict the mean of the training labels: inside the region where there is one (0 outside), else everywhere."""

    def __init__(self, task: Regression) -> None:
        super().__init__(
            f"mean training value inside {region_key(task)}, 0 outside (everywhere, without such a mask)"
            if task.pixel_level
            else "mean training value"
        )
        self._task = task
        self._sum, self._count = 0.0, 0

    def learn(self, sample: Sample) -> None:
        """Accumulate the label's values inside its region."""
        if bool(sample[present_key(self._task)]):
            values = torch.as_tensor(sample[self._task.name]).double()
            region = sample.get(region_key(self._task))
            inside = values if region is None else values[torch.as_tensor(region) > 0]
            self._sum, self._count = self._sum + float(inside.sum()), self._count + inside.numel()

    def answer(self, sample: Sample) -> Tensor:
        """Return (1, *S) or (1,) in the task's unit."""
        mean = self._sum / max(self._count, 1)
        values = torch.full(tuple(sample[self._task.name].shape), mean)
        region = sample.get(region_key(self._task))
        return values if region is None else values * (torch.as_tensor(region) > 0)


class Frequencies(NaiveBaseline):
    """Predict the class frequencies of the training cases; the answer is the most frequent class."""

    def __init__(self, task: Classification) -> None:
        super().__init__("always the most frequent class" if task.exclusive else "frequency of each finding")
        self._task = task
        self._counts, self._cases = torch.zeros(len(task.classes), dtype=torch.float64), 0

    def learn(self, sample: Sample) -> None:
        """Count the classes that hold."""
        if bool(sample[present_key(self._task)]):
            label = torch.as_tensor(sample[self._task.name])
            if self._task.exclusive:
                self._counts[int(label)] += 1
            else:
                self._counts += label.double().reshape(-1)
            self._cases += 1

    def answer(self, sample: Sample) -> Tensor:
        """Return (K,) frequencies."""
        return (self._counts / max(self._cases, 1)).float()


@singledispatch
def naive_baseline_for(task: object) -> NaiveBaseline:
    """Create the naive baseline of a task.

    Raises:
        ConfigError: this kind of task has no such answer.
    """
    raise unregistered(task, "naive baseline", "naive_baseline_for")


@naive_baseline_for.register
def _segmentation(task: Segmentation) -> NaiveBaseline:
    return Background(task)


@naive_baseline_for.register
def _regression(task: Regression) -> NaiveBaseline:
    return MeanValue(task)


@naive_baseline_for.register
def _classification(task: Classification) -> NaiveBaseline:
    return Frequencies(task)
