"""Cases in which every label is known."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch

from ctan_monai.metrics.base import COMPLETE, Record, Tensors
from ctan_monai.metrics.device_metric import DeviceMetric, Numbers
from ctan_monai.tasks import Task, check_tasks, present_key


class CompleteCases(DeviceMetric):
    """Mark cases in which every label of every task is known: 1 under ``complete``, else 0.

    Args:
        tasks: the tasks whose labels count.

    Source: CTAN Fig. 1, whose test sets leave out cases without complete labels. Decides: A18.
    """

    def __init__(self, tasks: Iterable[Task]) -> None:
        super().__init__()
        self.tasks = check_tasks(tasks)

    def numbers(self, case: str, prediction: Tensors, target: Tensors, spacing_mm: Sequence[float]) -> Tensors:
        """Check whether each task's label is known."""
        return {COMPLETE: torch.stack([target[present_key(task)].all() for task in self.tasks])}

    def record(self, case: str, numbers: Numbers) -> Record:
        """Say whether all of them are."""
        return {COMPLETE: float(all(numbers[COMPLETE]))}

    def compute(self) -> dict[str, float]:
        """Return the number of complete cases."""
        return {"complete_cases": sum(self.values(COMPLETE))}
