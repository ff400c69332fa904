"""The loss of each kind of task."""

from __future__ import annotations

from functools import singledispatch
from typing import Any

from ctan_monai.losses.base import TaskLoss
from ctan_monai.losses.classification import BinaryClassLoss, ExclusiveClassLoss
from ctan_monai.losses.options import build
from ctan_monai.losses.regression import RegressionLoss
from ctan_monai.losses.segmentation import ExclusiveComboLoss, OverlappingComboLoss
from ctan_monai.tasks import Classification, Regression, Segmentation, Task, unregistered


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
