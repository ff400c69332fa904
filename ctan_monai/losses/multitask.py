"""The multi-task loss: each task's mean over the global batch, combined by a weighting."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import singledispatch
from typing import Any

import torch
from torch import Tensor, nn

from ctan_monai.errors import ConfigError
from ctan_monai.losses.base import TaskLoss
from ctan_monai.losses.classification import BinaryClassLoss, ExclusiveClassLoss
from ctan_monai.losses.distributed import mean_or_zero, sum_over_ranks
from ctan_monai.losses.options import build
from ctan_monai.losses.regression import RegressionLoss
from ctan_monai.losses.segmentation import ExclusiveComboLoss, OverlappingComboLoss
from ctan_monai.losses.weighting.base import Weighting
from ctan_monai.tasks import (
    Classification,
    Regression,
    Segmentation,
    Task,
    check_tasks,
    present_key,
    region_key,
    unregistered,
)


@singledispatch
def loss_for(task: Task, **options: Any) -> TaskLoss:
    """Build the loss of a task.

    Args:
        task: the task to learn.
        options: keyword arguments of its loss: see `ComboLoss`, `RegressionLoss`, `ExclusiveClassLoss` and
            `BinaryClassLoss`.

    Returns:
        A module whose `forward(logits, label, present, region=None)` returns the sum of the per-unit losses over
        what is known, and the number of units.

    Raises:
        ConfigError: an option is unknown or out of range (the message names task and option), or the kind of task
            has no loss.
    """
    raise unregistered(task, "loss", "loss_for")


@loss_for.register
def _segmentation(task: Segmentation, **options: Any) -> TaskLoss:
    factory = OverlappingComboLoss if task.overlapping else ExclusiveComboLoss
    return build(factory, f"losses: {task.name}", task, options=options)


@loss_for.register
def _regression(task: Regression, **options: Any) -> TaskLoss:
    return build(RegressionLoss, f"losses: {task.name}", task, options=options)


@loss_for.register
def _classification(task: Classification, **options: Any) -> TaskLoss:
    factory = ExclusiveClassLoss if task.exclusive else BinaryClassLoss
    return build(factory, f"losses: {task.name}", task, options=options)


class MultiTaskLoss(nn.Module):
    """Compute the weighted sum of the tasks' losses over known labels.

    With several processes every one gets the loss of the global batch, exactly (`ctan_monai.losses.distributed`);
    it costs one collective call per step, and one for each segmentation task whose Dice is over the batch. Each
    process must call it for every batch while gradients are on.

    A task without any label in the global batch changes nothing in the weighting. It adds a 0 with a graph, so its
    parameters get a gradient of 0, not None: DistributedDataParallel then needs no search for unused parameters.
    Nothing here waits for the device.

    Args:
        tasks: the tasks.
        weighting: how their losses are joined: see `create_weighting`.
        options: for each task's name, the options of its loss (`loss_for`).

    Attributes:
        latest: for each task, the detached unweighted loss of the last call; 0 where it was not observed.
        observed: for each task, whether any label was known in the last call, on any process; boolean scalars on the
            losses' device.

    Raises:
        ConfigError: an option names an unknown task, or does not exist.
    """

    def __init__(
        self,
        tasks: Iterable[Task],
        weighting: Weighting,
        options: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        super().__init__()
        self.tasks = check_tasks(tasks)
        names = [task.name for task in self.tasks]
        given = dict(options or {})
        for name in given:
            if name not in names:
                raise ConfigError(f"losses: {name}", "there is no such task.", f"Use one of {names}.")
        if set(weighting.names) != set(names):
            raise ConfigError("weighting", f"it joins {weighting.names}, not {names}.", "Give both the same tasks.")
        self.weighting = weighting
        self.losses = nn.ModuleList(loss_for(task, **(given.get(task.name) or {})) for task in self.tasks)
        self.latest: dict[str, Tensor] = {}
        self.observed: dict[str, Tensor] = {}

    def forward(self, outputs: Mapping[str, Tensor], targets: Mapping[str, Tensor]) -> Tensor:
        """Return the loss to call `backward` on.

        Args:
            outputs: for each task the network's output.
            targets: flat dictionary of a batch: for each task the label, whether it is present, perhaps the region.

        Returns:
            A scalar, the same on every process.

        Raises:
            ConfigError: a task's output, label or presence is missing, or has another shape than the task asks for.
        """
        losses, self.observed = self.task_losses(outputs, targets)
        self.latest = {name: loss.detach() for name, loss in losses.items()}
        total: Tensor = self.weighting(losses, self.observed)
        return total

    def task_losses(
        self, outputs: Mapping[str, Tensor], targets: Mapping[str, Tensor]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return each task's unweighted loss, and whether any of its labels was known; arguments as for `forward`."""
        parts = [self._part(task, loss, outputs, targets) for task, loss in zip(self.tasks, self.losses, strict=True)]
        totals, counts = sum_over_ranks(torch.stack([torch.stack(column) for column in zip(*parts, strict=True)]))
        means = mean_or_zero(totals, counts).unbind()  # T scalars
        names = [task.name for task in self.tasks]
        return dict(zip(names, means, strict=True)), dict(zip(names, (counts > 0).unbind(), strict=True))

    @staticmethod
    def _part(
        task: Task, loss: nn.Module, outputs: Mapping[str, Tensor], targets: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor]:
        for where, entries, key in (
            ("outputs of the network", outputs, task.name),
            ("targets of the batch", targets, task.name),
            ("targets of the batch", targets, present_key(task)),
        ):
            if key not in entries:
                raise ConfigError(
                    f"tasks: {task.name}",
                    f"{key!r} is not in the {where}: {sorted(entries)}.",
                    "Give the network, the transforms and the loss the same tasks.",
                )
        label, present, region = targets[task.name], targets[present_key(task)], targets.get(region_key(task))
        part: tuple[Tensor, Tensor] = loss(outputs[task.name], label, present, region)
        return part
