"""Regression losses in units of the task's scale, over all voxels or those of a region."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ctan_monai.errors import ConfigError, check_choice
from ctan_monai.losses.base import TaskLoss
from ctan_monai.losses.options import check_number
from ctan_monai.tasks import Regression, region_key


class RegressionLoss(TaskLoss):
    """Compute the mean absolute, squared or Huber error between output and label / scale.

    One unit is one case, with the mean over its voxels. With the task's region 'mask' it is one voxel of a region:
    the loss is the mean over all such voxels of the batch, so that a slice which the region just touches does not
    weigh as much as one in its middle, and a case with an empty region does not count.

    The loss has the unit of the output, label / scale: 1 is an error of one scale (70 Gy, for a dose with scale 70), so
    that it is of the size of a Dice loss or a cross-entropy. With scale 1 it is in the label's unit, and 70 times as
    large beside the other tasks' losses, which weights from ratios of a task's own losses (DWA) do not correct.

    Args:
        task: the regression task; its region 'all' or 'mask' says which voxels count.
        error: 'mae', 'mse' or 'huber'.
        huber_delta: where 'huber' turns from squared to absolute, in units of the scale.

    Raises:
        ConfigError: an option is out of range.

    Source: CTAN, Losses (MAE for the dose). Decides: A16 (by the task's region; all voxels by default),
    A19 (the unit).

    >>> loss = RegressionLoss(Regression("dose", unit="Gy", scale=80.0))
    >>> total, count = loss(torch.full((1, 1, 2, 2), 0.5), torch.full((1, 1, 2, 2), 60.0), torch.tensor([True]))
    >>> total.item(), count.item()  # |0.5 - 60/80|
    (0.25, 1.0)
    """

    def __init__(self, task: Regression, *, error: str = "mae", huber_delta: float = 0.1) -> None:
        super().__init__(task)
        where = f"losses: {task.name}"
        self.scale, self.image_level = task.scale, not task.pixel_level
        self.masked = task.pixel_level and task.region == "mask"
        self.region_key = region_key(task)
        self.error = check_choice(f"{where}.error", error, ["mae", "mse", "huber"])
        self.huber_delta = check_number(f"{where}.huber_delta", huber_delta, above=True)

    def compute(self, logits: Tensor, label: Tensor, present: Tensor, region: Tensor | None) -> tuple[Tensor, Tensor]:
        """Sum the loss over known cases, or over the voxels of their regions.

        Args:
            logits: (B, 1, *S) or (B, 1), in units of the scale.
            label: same shape, in the task's unit.
            present: (B,).
            region: (B, 1, *S), needed if the task's region is 'mask', ignored otherwise.
        """
        space = () if self.image_level else logits.shape[2:]
        expected = (logits.shape[0], 1, *space)
        self.check_shapes(
            logits=(logits.shape, expected), label=(label.shape, expected), present=(present.shape, expected[:1])
        )
        counts = present.reshape(-1, *(1 for _ in expected[1:]))  # (B, 1, 1...)
        if self.masked:
            counts = counts & self._region(region, expected)  # (B, 1, *S)
        scaled = torch.where(counts, label.to(logits) / self.scale, 0)  # (B, 1, *S)
        error = torch.where(counts, self._error(logits, scaled), 0)  # (B, 1, *S)
        if self.masked:
            return error.sum(), counts.sum().to(error)
        return error.flatten(1).mean(1).sum(), present.sum().to(error)

    def _error(self, output: Tensor, scaled: Tensor) -> Tensor:
        if self.error == "mae":
            return F.l1_loss(output, scaled, reduction="none")
        if self.error == "mse":
            return F.mse_loss(output, scaled, reduction="none")
        return F.huber_loss(output, scaled, reduction="none", delta=self.huber_delta)

    def _region(self, region: Tensor | None, expected: tuple[int, ...]) -> Tensor:
        if region is None:
            raise ConfigError(
                f"tasks: {self.name}.region",
                f"it is 'mask', but the batch has no {self.region_key!r}.",
                "Give each case that mask, or set the region to 'all'.",
            )
        self.check_shapes(region=(region.shape, expected))
        return region.bool()
