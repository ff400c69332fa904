"""DVH metrics of a dose that lies on a device, read from it later; `dvh` has the same of NumPy arrays."""

from __future__ import annotations

import torch
from torch import Tensor

from ctan_monai.metrics.base import NAN
from ctan_monai.metrics.dose_values import DoseValue
from ctan_monai.metrics.dvh import MM3_PER_CC


def _may_wait(mask: Tensor) -> bool:
    """Tell whether a structure may be sorted alone: a GPU would have to be asked for its size."""
    return mask.device.type == "cpu"


class DosesInside:
    """The doses of a structure's voxels, in rising order, without asking a GPU how many they are.

    Args:
        dose_gy: (*S) dose, Gy.
        mask: (*S) bool, the structure, may be empty.
    """

    def __init__(self, dose_gy: Tensor, mask: Tensor) -> None:
        self.count = mask.sum()
        end = dose_gy.new_full((1,), torch.inf)
        inside = dose_gy[mask] if _may_wait(mask) else torch.where(mask, dose_gy, torch.inf).flatten()
        self._sorted = torch.cat([inside.sort().values, end]).double()
        self._inside = torch.arange(len(self._sorted), device=mask.device) < self.count

    def read(self, metric: DoseValue, voxel_mm3: float) -> Tensor:
        """Compute a metric, () float64, as `DoseValue.read` does; nan where the structure is empty.

        Args:
            metric: one that is not relative to a prescription.
            voxel_mm3: volume of a voxel.
        """
        if metric.kind == "mean":
            return torch.where(self._inside, self._sorted, 0).sum() / self.count
        if metric.kind == "V":
            reached = (self._inside & (self._sorted >= metric.at)).sum(dtype=torch.float64)
            found = 100.0 * (reached / self.count) if metric.unit == "%" else reached * voxel_mm3 / MM3_PER_CC
            return torch.where(self.count > 0, found, NAN)
        return self._percentile(self._percent(metric, voxel_mm3))

    def _percent(self, metric: DoseValue, voxel_mm3: float) -> Tensor:
        """Return the percentile that a D, the minimum or the maximum is, () float64."""
        if metric.kind == "D" and metric.at_unit == "cc":
            voxels = max(1.0, float(round(metric.at * MM3_PER_CC / voxel_mm3)))
            return (100.0 - voxels / self.count.double() * 100.0).clamp(min=0.0)
        percent = {"min": 0.0, "max": 100.0}.get(metric.kind, 100.0 - metric.at)
        return torch.full_like(self.count, percent, dtype=torch.float64)

    def _percentile(self, percent: Tensor) -> Tensor:
        """Interpolate as `numpy.percentile` does."""
        last = (self.count - 1).clamp(min=0)
        place = last * (percent / 100.0)
        lower = place.floor()
        low, high = (self._at(index, last) for index in (lower, lower + 1))
        part, step = place - lower, high - low
        found = torch.where(part >= 0.5, high - step * (1 - part), low + step * part)
        return torch.where(self.count > 0, found, NAN)

    def _at(self, index: Tensor, last: Tensor) -> Tensor:
        return self._sorted.gather(0, torch.minimum(index.long(), last).clamp(min=0).reshape(1)).reshape(())
