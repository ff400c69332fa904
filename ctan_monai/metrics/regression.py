"""Mean absolute error, always with the region that it was taken over in its name."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ctan_monai.metrics.base import NAN, CaseMetric, Record, check_finite, check_same_shape
from ctan_monai.tasks import Regression, present_key, region_key


def _mean(values: Tensor) -> float:
    """Compute the mean in double precision; nan over nothing."""
    return float(values.mean(dtype=torch.float64)) if values.numel() else NAN


class _Error(CaseMetric):
    """Base class of regression errors, with the score 1 - MAE / MAE of the zero prediction."""

    def __init__(self, task: Regression, mae: str) -> None:
        super().__init__()
        self.task = task
        self._selected, self._zero = f"{task.name}_{mae}", f"{task.name}_zero_{mae}"

    def _pair(
        self, case: str, prediction: Mapping[str, Tensor], target: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor] | None:
        """Return prediction and label on the CPU, None where the label is unknown."""
        predicted, label = (both[self.task.name].detach().cpu().float() for both in (prediction, target))
        check_same_shape(self.task.name, case, predicted, label)
        check_finite(f"prediction of {self.task.name}", case, predicted)
        check_finite(f"label of {self.task.name}", case, label)
        return (predicted, label) if bool(target[present_key(self.task)]) else None

    def selection(self) -> float | None:
        """Return 1 - MAE / MAE of the zero prediction: 1 is perfect, 0 no better than predicting nothing."""
        mae, zero = self.mean(self._selected), self.mean(self._zero)
        return None if math.isnan(mae) or not zero > 0 else 1 - mae / zero


class VoxelError(_Error):
    """Compute the mean absolute error of a voxel-level regression, in the task's unit, over three regions.

    For a task named ``dose`` (per case, and averaged over cases):

    * ``dose_mae_volume``: over all voxels. The metric that the paper's 0.51-0.53 Gy on OpenKBP fits (docs/adr/0002,
      A16).
    * ``dose_mae_slices``: over the slices (index along the last axis) whose reference is not zero everywhere; nan for
      images of fewer than three axes.
    * ``dose_mae_region``: over the voxels of ``dose_region``; nan where a case has no such mask.
    * ``dose_zero_mae_volume`` (or ``_region``): what predicting zero everywhere would give, the scale of the others.

    The three differ by more than a factor of ten on the same prediction, hence the names (ADR 0002). A task whose
    ``region`` is 'mask' knows nothing outside its region: only the region's metrics exist then.

    Args:
        task: the regression that is measured.
    """

    def __init__(self, task: Regression) -> None:
        self._inside_only = task.region == "mask"
        super().__init__(task, "mae_region" if self._inside_only else "mae_volume")
        regions = ("mae_region",) if self._inside_only else ("mae_volume", "mae_slices", "mae_region")
        self._keys = [f"{task.name}_{region}" for region in regions] + [self._zero]

    def measure(
        self, case: str, prediction: Mapping[str, Tensor], target: Mapping[str, Tensor], spacing_mm: Sequence[float]
    ) -> Record:
        """Compute the errors of one case.

        Raises:
            DataError: prediction and label differ in shape, or are not finite.
        """
        pair = self._pair(case, prediction, target)
        if pair is None:
            return dict.fromkeys(self._keys, NAN)
        error, size = (pair[0] - pair[1]).abs(), pair[1].abs()  # (1, *S) each
        region = self._region(case, target, error)  # (1, *S) bool
        found = {"mae_region": _mean(error[region])}
        if not self._inside_only:
            found |= {"mae_volume": _mean(error), "mae_slices": _mean(error[..., self._slices(size)])}
        zero = _mean(size[region] if self._inside_only else size)
        return {**{f"{self.task.name}_{name}": value for name, value in found.items()}, self._zero: zero}

    def _region(self, case: str, target: Mapping[str, Tensor], error: Tensor) -> Tensor:
        """Return the voxels of the region, none if the case has no such mask."""
        region = target.get(region_key(self.task))
        if region is None:
            return torch.zeros_like(error, dtype=torch.bool)
        check_same_shape(region_key(self.task), case, region, error)
        return region.detach().cpu() > 0

    @staticmethod
    def _slices(size: Tensor) -> Tensor:
        """Return the indices of slices that have a reference, none for images of fewer than three axes."""
        if size.ndim < 4:
            return torch.zeros(size.shape[-1], dtype=torch.bool)
        return size.amax(dim=tuple(range(size.ndim - 1))) > 0

    def compute(self) -> dict[str, float]:
        """Return the mean over cases of every metric."""
        return {key: self.mean(key) for key in self._keys}


class ImageError(_Error):
    """Compute the mean absolute error of an image-level regression, in the task's unit.

    For a task named ``age``: ``age_mae`` and ``age_zero_mae``, what predicting zero would give.

    Args:
        task: the regression that is measured.
    """

    def __init__(self, task: Regression) -> None:
        super().__init__(task, "mae")

    def measure(
        self, case: str, prediction: Mapping[str, Tensor], target: Mapping[str, Tensor], spacing_mm: Sequence[float]
    ) -> Record:
        """Compute the error of one case.

        Raises:
            DataError: prediction and label differ in shape, or are not finite.
        """
        pair = self._pair(case, prediction, target)  # (1,) each
        if pair is None:
            return {self._selected: NAN, self._zero: NAN}
        return {self._selected: _mean((pair[0] - pair[1]).abs()), self._zero: _mean(pair[1].abs())}

    def compute(self) -> dict[str, float]:
        """Return the mean over cases."""
        return {key: self.mean(key) for key in (self._selected, self._zero)}
