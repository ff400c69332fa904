"""Postprocessing: from logits to the prediction of a task: masks, values in a unit, probabilities."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, singledispatch

import torch
from torch import Tensor

from ctan_monai.tasks import Classification, Regression, Segmentation, Task, unregistered


@singledispatch
def activate(task: Task, logits: Tensor) -> Tensor:
    """Apply the activation of a task to logits: probabilities, or values in ``task.unit``.

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


@singledispatch
def postprocess_for(task: Task) -> Callable[[Tensor], Tensor]:
    """Create the function that converts logits of a task to its final prediction.

    Returns:
        A picklable function of logits (B, task.channels, *S), or (B, task.channels) per image, that returns

        * Segmentation: bool (B, L, *S), one mask per label. Overlapping: probability at least 0.5 (a logit of 0
          counts); exclusive: the most probable channel, the earlier one if two are equal.
        * Regression: float32 in ``task.unit``, negative values set to 0 if ``task.nonnegative``.
        * Classification: float32 probabilities (B, K).

    Raises:
        ConfigError: nothing is known about this kind of task.

    Source: docs/adr/0004, A14 (dose is cut off at 0 at inference, not in training), A15 (exclusive and overlapping
        labels).
    """
    raise unregistered(task, "final answer", "postprocess_for")


@postprocess_for.register
def _(task: Segmentation) -> Callable[[Tensor], Tensor]:
    return _at_least_half if task.overlapping else partial(_most_probable, len(task.labels))


@postprocess_for.register
def _(task: Regression) -> Callable[[Tensor], Tensor]:
    return partial(_in_unit, task)


@postprocess_for.register
def _(task: Classification) -> Callable[[Tensor], Tensor]:
    return partial(activate, task)


def _at_least_half(logits: Tensor) -> Tensor:
    return logits >= 0  # (B, L, *S); sigmoid(x) >= 0.5, without a float copy of the volume


def _most_probable(labels: int, logits: Tensor) -> Tensor:
    winner = logits.argmax(dim=1, keepdim=True)  # (B, 1, *S), 0 = background
    wanted = torch.arange(1, labels + 1, device=logits.device)
    return winner == wanted.view(1, -1, *[1] * (logits.ndim - 2))  # (B, L, *S)


def _in_unit(task: Regression, logits: Tensor) -> Tensor:
    value = activate(task, logits)  # (B, 1, *S) or (B, 1), in task.unit
    return value.clamp(min=0) if task.nonnegative else value
