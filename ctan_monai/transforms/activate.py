"""From what a network returns to probabilities, or to values in the unit of the task."""

from __future__ import annotations

from functools import singledispatch

import torch
from torch import Tensor

from ctan_monai.tasks import Classification, Regression, Segmentation, Task, unregistered


@singledispatch
def activate(task: Task, logits: Tensor) -> Tensor:
    """Turn what a network returns for a task into probabilities, or into values in ``task.unit``.

    The result is float32 whatever the network computed in, because a sigmoid of bfloat16 has three digits.

    Args:
        task: the task that the logits belong to.
        logits: (B, task.channels, *S), or (B, task.channels) for a task that has one answer per image.

    Returns:
        The same shape, float32. Segmentation and Classification: probabilities, softmax over the channels if the
        task is exclusive (channel 0 of a Segmentation is the background), a sigmoid each otherwise. Regression:
        the value in ``task.unit``, not yet cut off at 0.

    Raises:
        ConfigError: nothing is known about this kind of task.
    """
    raise unregistered(task, "activation", "activate")


@activate.register
def _(task: Segmentation, logits: Tensor) -> Tensor:
    return torch.sigmoid(logits.float()) if task.overlapping else torch.softmax(logits.float(), dim=1)


@activate.register
def _(task: Classification, logits: Tensor) -> Tensor:
    return torch.softmax(logits.float(), dim=1) if task.exclusive else torch.sigmoid(logits.float())


@activate.register
def _(task: Regression, logits: Tensor) -> Tensor:
    return logits.float() * task.scale
