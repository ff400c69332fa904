"""The base class of weightings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from ctan_monai.tasks import Task, check_tasks


class Weighting(nn.Module):
    """Combine the tasks' losses: sum lambda times loss over the observed tasks.

    A weighting says `weigh` (or `terms`, where a task's weight depends on the other losses of the step), and `observe`
    and `end_epoch` if it learns from losses. The losses it gets are means
    over the global batch, the same on every process (`MultiTaskLoss`), so it needs no communication of its own.
    A task that is not observed in a step adds a 0 with a graph; no weighting sees it.

    Args:
        tasks: the tasks.
    """

    def __init__(self, tasks: Iterable[Task]) -> None:
        super().__init__()
        self.names = tuple(task.name for task in check_tasks(tasks))

    def forward(self, losses: Mapping[str, Tensor], observed: Mapping[str, bool]) -> Tensor:
        """Combine the losses of one step.

        Args:
            losses: for each task its unweighted loss, a scalar.
            observed: for each task whether any label was known.

        Returns:
            A scalar.
        """
        if self.training and torch.is_grad_enabled():  # a validation loss is no part of the history
            self.observe({name: losses[name].detach() for name in self.names if observed[name]})
        seen = {name: losses[name] for name in self.names if observed[name]}
        unseen = [losses[name] * 0.0 for name in self.names if not observed[name]]
        return torch.stack([*self.terms(seen), *unseen]).sum()

    def terms(self, losses: Mapping[str, Tensor]) -> list[Tensor]:
        """Return scalars whose sum is the total over the observed tasks, of which there may be none."""
        return [self.weigh(name, loss) for name, loss in losses.items()]

    def weigh(self, name: str, loss: Tensor) -> Tensor:
        """Return the weighted loss of an observed task."""
        return loss * self.weights()[name]

    def observe(self, losses: Mapping[str, Tensor]) -> None:
        """Update the weighting's state by one training step's unweighted, detached losses of the observed tasks."""

    def weights(self) -> dict[str, float]:
        """Return the current lambda of each task."""
        return dict.fromkeys(self.names, 1.0)

    def end_epoch(self) -> None:
        """End a training epoch; called once after each, on every process."""
