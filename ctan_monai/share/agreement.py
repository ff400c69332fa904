"""Agreement of a reduced-precision file with its network, and its limits."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import singledispatch

import torch
from torch import Tensor

from ctan_monai.tasks import Classification, Regression, Segmentation, Task, unregistered
from ctan_monai.transforms import postprocess_for

Outputs = Mapping[str, Tensor]


@dataclass(frozen=True)
class Limits:
    """Limits on the differences between a file's predictions and its network's.

    Args:
        error: largest relative error of a task's logits: the norm of the difference over the norm of the network's.
        dice: smallest Dice of a label between the masks of both.
        mean_difference: largest mean absolute difference of a regression, as a fraction of its ``scale``.
        same: smallest fraction of images with the same class (of decisions, where classes do not exclude each other).
    """

    error: float
    dice: float
    mean_difference: float
    same: float


# Two to five times what was measured with trained networks (ADR 23).
LIMITS = {"bf16": Limits(0.05, 0.98, 0.005, 0.95), "int8": Limits(0.10, 0.95, 0.005, 0.95)}


@dataclass(frozen=True)
class Agreement:
    """Agreement of a file and its network in one task.

    Args:
        task: its name.
        error: relative error of the logits.
        measure: what ``value`` is, with its unit: Dice of the worst label, mean absolute difference, fraction of
            images.
        value: over all images.
        holds: both are within the limits.
    """

    task: str
    error: float
    measure: str
    value: float
    holds: bool


def compare(tasks: Iterable[Task], pairs: Iterable[tuple[Outputs, Outputs]], limits: Limits) -> tuple[Agreement, ...]:
    """Compare the predictions for the same images.

    Args:
        tasks: of the network.
        pairs: for each batch the network's logits and the file's, task name -> (B, K, *S) or (B, K).
        limits: what is allowed.

    Returns:
        One entry per task, over all batches.
    """
    batches = list(pairs)
    return tuple(
        _compare(task, [(ours[task.name].double(), theirs[task.name].double()) for ours, theirs in batches], limits)
        for task in tasks
    )


def _compare(task: Task, pairs: list[tuple[Tensor, Tensor]], limits: Limits) -> Agreement:
    difference = sum(float((theirs - ours).square().sum()) for ours, theirs in pairs)
    size = sum(float(ours.square().sum()) for ours, _ in pairs)
    error = (difference / size) ** 0.5 if size else float("inf")
    finals = [tuple(postprocess_for(task)(logits.float()) for logits in pair) for pair in pairs]
    measure, value, good = agreement_for(task)([(final[0], final[1]) for final in finals], limits)
    return Agreement(task.name, error, measure, value, error <= limits.error and good)


Measure = Callable[[list[tuple[Tensor, Tensor]], Limits], tuple[str, float, bool]]


@singledispatch
def agreement_for(task: Task) -> Measure:
    """Create the function that compares two predictions of a task (as of `postprocess_for`).

    Returns:
        A function of pairs of answers and limits, which gives the measure's name, its value, and whether it is good.

    Raises:
        ConfigError: nothing is known about this kind of task.
    """
    raise unregistered(task, "measure of agreement", "agreement_for")


@agreement_for.register
def _(task: Segmentation) -> Measure:
    def dice(pairs: list[tuple[Tensor, Tensor]], limits: Limits) -> tuple[str, float, bool]:
        common, size = torch.zeros(len(task.labels)), torch.zeros(len(task.labels))
        for ours, theirs in pairs:  # (B, L, *S) bool
            over = [axis for axis in range(ours.ndim) if axis != 1]
            common += (ours & theirs).sum(dim=over)
            size += ours.sum(dim=over) + theirs.sum(dim=over)
        scores = torch.where(size > 0, 2 * common / size.clamp(min=1), torch.ones_like(size))  # (L,)
        worst = float(scores.min())
        return "Dice", worst, worst >= limits.dice

    return dice


@agreement_for.register
def _(task: Regression) -> Measure:
    def mean_difference(pairs: list[tuple[Tensor, Tensor]], limits: Limits) -> tuple[str, float, bool]:
        count = sum(ours.numel() for ours, _ in pairs)
        mean = sum(float((theirs - ours).abs().sum()) for ours, theirs in pairs) / count
        return f"mean difference / {task.unit}", mean, mean <= limits.mean_difference * task.scale

    return mean_difference


@agreement_for.register
def _(task: Classification) -> Measure:
    def same(pairs: list[tuple[Tensor, Tensor]], limits: Limits) -> tuple[str, float, bool]:
        equal = [
            (ours.argmax(dim=1) == theirs.argmax(dim=1) if task.exclusive else (ours >= 0.5) == (theirs >= 0.5))
            for ours, theirs in pairs
        ]
        share = float(torch.cat([part.flatten() for part in equal]).float().mean())
        return "same class" if task.exclusive else "same decision", share, share >= limits.same

    return same
