"""Mean absolute error, always with the region that it was taken over in its name."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ctan_monai.metrics.base import NAN, Record, Tensors, check_same_shape
from ctan_monai.metrics.device_metric import DeviceMetric, Numbers, check_finite, finite_counts, masked_mean
from ctan_monai.tasks import Regression, present_key, region_key


class _Error(DeviceMetric):
    """Base class of regression errors, with the score 1 - MAE / MAE of the zero prediction."""

    def __init__(self, task: Regression, mae: str, *others: str) -> None:
        super().__init__()
        self.task = task
        self._selected, self._zero = f"{task.name}_{mae}", f"{task.name}_zero_{mae}"
        self._keys = [self._selected, *(f"{task.name}_{other}" for other in others), self._zero]

    def _pair(self, case: str, prediction: Tensors, target: Tensors) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Return prediction, label and the numbers that say whether the case can be measured."""
        predicted, label = (both[self.task.name].detach().float() for both in (prediction, target))
        check_same_shape(self.task.name, case, predicted, label)
        checks = {"prediction": finite_counts(predicted), "label": finite_counts(label)}
        return predicted, label, {**checks, "present": target[present_key(self.task)]}

    def record(self, case: str, numbers: Numbers) -> Record:
        """Return the errors of one case, nan where the label is unknown.

        Raises:
            DataError: prediction or label are not finite.
        """
        for what in ("prediction", "label"):
            check_finite(f"{what} of {self.task.name}", case, numbers[what])
        known = bool(numbers["present"][0])
        return {key: numbers[key][0] if known else NAN for key in self._keys}

    def compute(self) -> dict[str, float]:
        """Return the mean over cases of every metric."""
        return {key: self.mean(key) for key in self._keys}

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
        super().__init__(task, *(("mae_region",) if self._inside_only else ("mae_volume", "mae_slices", "mae_region")))

    def numbers(self, case: str, prediction: Tensors, target: Tensors, spacing_mm: Sequence[float]) -> Tensors:
        """Compute the errors of one case.

        Raises:
            DataError: prediction and label differ in shape.
        """
        predicted, label, found = self._pair(case, prediction, target)
        error, size = (predicted - label).abs(), label.abs()  # (1, *S) each
        region, name = self._region(case, target, error), self.task.name  # (1, *S) bool
        found[f"{name}_mae_region"] = masked_mean(error, region)
        if self._inside_only:
            return {**found, self._zero: masked_mean(size, region)}
        found[f"{name}_mae_volume"] = error.mean(dtype=torch.float64)
        found[f"{name}_mae_slices"] = masked_mean(error, self._slices(size))
        return {**found, self._zero: size.mean(dtype=torch.float64)}

    def _region(self, case: str, target: Tensors, error: Tensor) -> Tensor:
        """Return the voxels of the region, none if the case has no such mask."""
        region = target.get(region_key(self.task))
        if region is None:
            return torch.zeros_like(error, dtype=torch.bool)
        check_same_shape(region_key(self.task), case, region, error)
        return region.detach() > 0

    @staticmethod
    def _slices(size: Tensor) -> Tensor:
        """Return which slices (D,) have a reference, none for images of fewer than three axes."""
        if size.ndim < 4:
            return torch.zeros_like(size[(0,) * (size.ndim - 1)], dtype=torch.bool)
        return size.amax(dim=tuple(range(size.ndim - 1))) > 0


class ImageError(_Error):
    """Compute the mean absolute error of an image-level regression, in the task's unit.

    For a task named ``age``: ``age_mae`` and ``age_zero_mae``, what predicting zero would give.

    Args:
        task: the regression that is measured.
    """

    def __init__(self, task: Regression) -> None:
        super().__init__(task, "mae")

    def numbers(self, case: str, prediction: Tensors, target: Tensors, spacing_mm: Sequence[float]) -> Tensors:
        """Compute the error of one case.

        Raises:
            DataError: prediction and label differ in shape.
        """
        predicted, label, found = self._pair(case, prediction, target)  # (1,) each
        error = (predicted - label).abs().mean(dtype=torch.float64)
        return {**found, self._selected: error, self._zero: label.abs().mean(dtype=torch.float64)}
