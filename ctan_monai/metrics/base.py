"""The base class of metrics, which keep one record per case; checks of predictions."""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ctan_monai.errors import DataError
from ctan_monai.tasks import Task, check_tasks, present_key

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


def check_finite(what: str, case: str, values: Tensor) -> None:
    """Check for nan and infinities: nan would read as 'unknown' and drop the case from the means.

    Raises:
        DataError: some values are not finite.
    """
    bad = values.numel() - int(values.isfinite().sum())
    if bad:
        raise DataError(
            what,
            case,
            f"{bad} of {values.numel()} values are not finite.",
            "For a prediction: the training has probably diverged, lower the learning rate or go back to an earlier "
            "checkpoint. For a label: verify the data.",
        )


if TYPE_CHECKING:
    from torch import Tensor

NAN = float("nan")
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
    def measure(
        self, case: str, prediction: Mapping[str, Tensor], target: Mapping[str, Tensor], spacing_mm: Sequence[float]
    ) -> Record:
        """Measure one case; the keys are the same for every case, nan where the answer is unknown."""

    @abstractmethod
    def compute(self) -> dict[str, float]:
        """Return the metrics over all cases; nan = nothing known."""

    def selection(self) -> float | None:
        """Return the contribution to the score that selects the best model (higher is better), None without one."""
        return None

    def update(
        self, case: str, prediction: Mapping[str, Tensor], target: Mapping[str, Tensor], spacing_mm: Sequence[float]
    ) -> None:
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
        if case not in self._records:
            self._records[case] = self.measure(case, prediction, target, spacing_mm)

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


if TYPE_CHECKING:
    from torch import Tensor

COMPLETE = "complete"


class CompleteCases(CaseMetric):
    """Mark cases in which every label of every task is known: 1 under ``complete``, else 0.

    Args:
        tasks: the tasks whose labels count.

    Source: CTAN Fig. 1, whose test sets leave out cases without complete labels. Decides: A18.
    """

    def __init__(self, tasks: Iterable[Task]) -> None:
        super().__init__()
        self.tasks = check_tasks(tasks)

    def measure(
        self, case: str, prediction: Mapping[str, Tensor], target: Mapping[str, Tensor], spacing_mm: Sequence[float]
    ) -> Record:
        """Check whether every task's label is known."""
        return {COMPLETE: float(all(bool(target[present_key(task)].all()) for task in self.tasks))}

    def compute(self) -> dict[str, float]:
        """Return the number of complete cases."""
        return {"complete_cases": sum(self.values(COMPLETE))}
