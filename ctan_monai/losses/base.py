"""What every task's loss has in common: sums and counts over what is known, in float32."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ctan_monai.errors import ConfigError
from ctan_monai.tasks import Task


class TaskLoss(nn.Module, ABC):
    """Base class of a task's loss: a sum over known labels, and the number of units in that sum.

    Returning sum and count instead of a mean makes the loss exact where labels are missing and where processes share
    a batch: see `ctan_monai.losses.distributed_mean`. Marking a case absent is the same as leaving it out.

    Args:
        task: the task that is learned.
    """

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.name = task.name

    def forward(
        self, logits: Tensor, label: Tensor, present: Tensor, region: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Sum the loss over known labels, in float32 also under autocast.

        Args:
            logits: (B, K, *S) or (B, K) output of the network for this task.
            label: the label, dense; zeros where unknown.
            present: (B, L) for Segmentation, (B,) otherwise; whether the label is known.
            region: (B, 1, *S) voxels that count, for voxel-level regression over a region.

        Returns:
            Two scalars: the sum of per-unit losses and the number of units. What one unit is, each loss says.

        Raises:
            ConfigError: shapes do not fit the task.
        """
        precise = logits.as_subclass(Tensor)  # not MetaTensor
        precise = precise if logits.dtype == torch.float64 else precise.float()
        label, present = (entry.as_subclass(Tensor).to(logits.device) for entry in (label, present))
        region = None if region is None else region.as_subclass(Tensor).to(logits.device)
        return self.compute(precise, label, present.bool(), region)

    @abstractmethod
    def compute(self, logits: Tensor, label: Tensor, present: Tensor, region: Tensor | None) -> tuple[Tensor, Tensor]:
        """Compute the sum and count of `forward` from plain tensors, with operations that autocast keeps in float32."""

    def check_shapes(self, **shapes: tuple[Sequence[int], Sequence[int]]) -> None:
        """Check pairs of shapes (found, expected).

        Raises:
            ConfigError: they differ; the message names the task and both shapes.
        """
        for what, (found, expected) in shapes.items():
            if tuple(found) != tuple(expected):
                raise ConfigError(
                    f"losses: {self.name}",
                    f"{what} has shape {tuple(found)}, expected {tuple(expected)}.",
                    "Give the network, the transforms and the loss the same task.",
                )


def focal_factor(nll: Tensor, gamma: float) -> Tensor | float:
    """Compute the focal factor (1 - p_true)^gamma, which down-weights easy examples.

    Args:
        nll: -log of the probability given to the truth, any shape.
        gamma: 0 for the plain loss.

    Source: Lin et al. 2017, "Focal loss for dense object detection", eq. 4.

    >>> nll = -torch.tensor([0.9, 0.5]).log()
    >>> focal_factor(nll, 2.0)
    tensor([0.0100, 0.2500])
    """
    if gamma == 0:
        return 1.0
    wrong = -torch.expm1(-nll)  # any shape: 1 - p_true
    return wrong.clamp_min(1e-6).pow(gamma)  # a gradient of 0, not NaN, where p_true rounds to 1 and gamma < 1
