"""The base class of metrics, which keep one record per case."""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ctan_monai.errors import ConfigError, DataError
from ctan_monai.tasks import Regression

if TYPE_CHECKING:
    from torch import Tensor


def check_same_shape(task: str, case: str, prediction: Tensor, label: Tensor) -> None:
    """Check that a prediction has the label's shape (broadcasting would give a number nonetheless).

    Raises:
        DataError: the shapes differ; the message states both.
    """
    if prediction.shape != label.shape:
        raise DataError(
            f"prediction of {task}",
            case,
            f"found shape {tuple(prediction.shape)}, expected the label's {tuple(label.shape)}.",
            "Bring the prediction back to the label's grid, and leave the batch axis out, before it is measured.",
        )


def check_unit(setting: str, task: Regression, unit: str, what: str) -> None:
    """Check that a task gives a value in a unit for each voxel.

    Args:
        setting: the metric's argument, for the message.
        task: the task.
        unit: that is expected.
        what: the task is to be, for the message.

    Raises:
        ConfigError: it does not.
    """
    if task.unit != unit or not task.pixel_level:
        found = f"the task {task.name!r} is in {task.unit} per {task.level}, expected {unit} per voxel."
        raise ConfigError(setting, found, f"Name the {what}.")


NAN = float("nan")
Tensors = Mapping[str, "Tensor"]  # answers or labels of one case, by their keys in a batch
COMPLETE = "complete"  # cases in which every label is known
Record = dict[str, float]  # what was measured on one case; nan where the answer is unknown


def known_mean(values: Iterable[float]) -> float:
    """Compute the mean of the values that are not nan.

    The sum is exact (`math.fsum`), so the mean does not depend on the order of the cases nor on how processes
    shared them.

    Args:
        values: one per case; nan = unknown, left out.

    Returns:
        The mean, nan if nothing is known.
    """
    known = [float(value) for value in values if not math.isnan(value)]
    return math.fsum(known) / len(known) if known else NAN


def natural_order(case: str) -> list[tuple[int, str]]:
    """Return a sort key of natural order: pt_2 before pt_10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", case)]


class CaseMetric(ABC):
    """Measure each case, then average over cases.

    Subclasses say what is measured on one case (`measure`) and how the records make metrics (`compute`). Records
    are plain numbers, so they travel between processes and into tables as they are.
    """

    def __init__(self) -> None:
        self._records: dict[str, Record] = {}

    @abstractmethod
    def measure(self, case: str, prediction: Tensors, target: Tensors, spacing_mm: Sequence[float]) -> Record:
        """Measure one case; the keys are the same for every case, nan where the answer is unknown."""

    @abstractmethod
    def compute(self) -> dict[str, float]:
        """Return the metrics over all cases; nan = nothing known."""

    def selection(self) -> float | None:
        """Return the contribution to the score that selects the best model (higher is better), None without one."""
        return None

    def update(self, case: str, prediction: Tensors, target: Tensors, spacing_mm: Sequence[float]) -> None:
        """Measure one case, unless it has been measured already (the first time wins).

        Args:
            case: its id.
            prediction: per task the post-processed answer, without a batch axis: (L, *S) bool masks, (1, *S) or (1,)
                in the task's unit, (K,) probabilities.
            target: the flat dictionary of labels, presence and regions, without a batch axis.
            spacing_mm: size of a voxel along each spatial axis, mm.

        Raises:
            DataError: prediction and label do not fit together, or the prediction is not finite.
        """
        if self.lacks(case):
            self.keep(case, self.measure(case, prediction, target, spacing_mm))

    def lacks(self, case: str) -> bool:
        """Tell whether a case has not been measured yet."""
        return case not in self._records

    def keep(self, case: str, record: Record) -> None:
        """Keep the record of a case, unless there is one."""
        self._records.setdefault(case, record)

    @property
    def records(self) -> list[Record]:
        """Records by case, in the natural order of the cases' ids."""
        return [self._records[case] for case in sorted(self._records, key=natural_order)]

    def rows(self) -> list[dict[str, Any]]:
        """Return one row per case, its id under ``case``, in the natural order of the ids."""
        return [{"case": case, **self._records[case]} for case in sorted(self._records, key=natural_order)]

    def values(self, key: str) -> list[float]:
        """Return what was measured under a key, one value per case."""
        return [record[key] for record in self.records]

    def mean(self, key: str) -> float:
        """Compute the mean of a key over the cases in which it is known."""
        return known_mean(self.values(key))

    def reset(self) -> None:
        """Remove all records."""
        self._records = {}

    def state(self) -> dict[str, Record]:
        """Return the records by case, for another process to merge."""
        return dict(self._records)

    def merge(self, states: Iterable[Mapping[str, Record]]) -> None:
        """Merge the states of all processes in the order of their ranks.

        A case that several processes saw (a distributed sampler pads) counts once, the lowest rank's record wins:
        every process that merges the same states gets the same metrics.
        """
        merged: dict[str, Record] = {}
        for state in (*states, self._records):
            for case, record in state.items():
                merged.setdefault(case, record)
        self._records = merged
