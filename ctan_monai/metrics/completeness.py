"""Which cases have all their labels, so that figures over complete cases can stand beside those over all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from ctan_monai.metrics.base import CaseMetric, Record
from ctan_monai.tasks import Task, check_tasks, present_key

if TYPE_CHECKING:
    from torch import Tensor

COMPLETE = "complete"


class CompleteCases(CaseMetric):
    """Mark the cases in which every label of every task is known: 1 under ``complete``, else 0.

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
        """Look at the presence of every task's label."""
        return {COMPLETE: float(all(bool(target[present_key(task)].all()) for task in self.tasks))}

    def compute(self) -> dict[str, float]:
        """Return the number of complete cases."""
        return {"complete_cases": sum(self.values(COMPLETE))}
