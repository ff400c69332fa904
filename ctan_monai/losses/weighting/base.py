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
    A task that is not observed in a step adds a 0 with a graph, and changes nothing.

    Whether a task was observed may be known on the device only. No method but `weights` and `end_epoch` waits for it.

    Args:
        tasks: the tasks.
    """

    def __init__(self, tasks: Iterable[Task]) -> None:
        super().__init__()
        self.names = tuple(task.name for task in check_tasks(tasks))
        self._latest: dict[str, Tensor] = {}

    def forward(self, losses: Mapping[str, Tensor], observed: Mapping[str, bool | Tensor]) -> Tensor:
        """Combine the losses of one step.

        Args:
            losses: for each task its unweighted loss, a scalar.
            observed: for each task whether any label was known, a boolean or a scalar tensor on the losses' device.

        Returns:
            A scalar.
        """
        seen = {name: _as_mask(observed[name], losses[name]) for name in self.names if observed[name] is not False}
        perhaps = {name: losses[name] for name in seen}
        if self.training and torch.is_grad_enabled():  # a validation loss is no part of the history
            self.observe({name: loss.detach() for name, loss in perhaps.items()}, seen)
        absent = [losses[name] * 0.0 for name in self.names if name not in seen]
        return torch.stack([*self.terms(perhaps, seen), *absent]).sum()

    def terms(self, losses: Mapping[str, Tensor], seen: Mapping[str, Tensor]) -> list[Tensor]:
        """Return scalars whose sum is the total over the observed tasks, of which there may be none.

        Args:
            losses: of the tasks that may have been observed; the others' losses are 0 with a graph.
            seen: for each of them whether it was, boolean scalars.
        """
        return [torch.where(seen[name], self.weigh(name, loss), 0.0) for name, loss in losses.items()]

    def weigh(self, name: str, loss: Tensor) -> Tensor:
        """Return the weighted loss of an observed task."""
        return loss * self.weights()[name]

    def observe(self, losses: Mapping[str, Tensor], seen: Mapping[str, Tensor]) -> None:
        """Update the state by one training step's unweighted, detached losses; arguments as for `terms`."""

    def learned(self) -> dict[str, nn.Parameter]:
        """Return the parameter that belongs to each task, where there are any."""
        return {}

    def weights(self) -> dict[str, float]:
        """Return the current lambda of each task: the derivative of the last step that was kept, else 1."""
        return {name: float(self._latest.get(name, 1.0)) for name in self.names}

    def keep_derivatives(self, losses: Iterable[str], derivatives: Tensor) -> None:
        """Keep the derivatives (T,) of a step's total by these tasks' losses for `weights`."""
        self._latest = dict(zip(losses, derivatives.unbind(), strict=True))

    def end_epoch(self) -> None:
        """End a training epoch; called once after each, on every process."""


def _as_mask(observed: bool | Tensor, loss: Tensor) -> Tensor:
    return observed if isinstance(observed, Tensor) else torch.ones_like(loss, dtype=torch.bool)
