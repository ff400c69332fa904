"""Grids of volumes: comparison and resampling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ctan_monai.data.cases.grid import corner_distance_mm

Array = npt.NDArray[Any]
_AGREE = 0.05  # of a voxel: headers round, and qform and sform differ in the sixth digit
_SMOOTHING = 0.35  # standard deviation of the filter before shrinking, in new voxels: half of the usual half width


@dataclass(frozen=True, eq=False)
class VolumeGrid:
    """The grid of a volume.

    Args:
        shape: (*S), three axes.
        affine_ras: (4, 4) voxel index -> mm.
    """

    shape: tuple[int, ...]
    affine_ras: npt.NDArray[np.float64]

    @property
    def spacing_mm(self) -> npt.NDArray[np.float64]:
        """Distance of neighboring voxels along each axis."""
        lengths: npt.NDArray[np.float64] = np.linalg.norm(self.affine_ras[:3, :3], axis=0)
        return lengths

    def distance_mm(self, other: VolumeGrid) -> float:
        """Return the largest distance between corresponding corners, in mm; infinite if the shapes differ."""
        if self.shape != other.shape:
            return float("inf")
        return corner_distance_mm(self.affine_ras, other.affine_ras, self.shape)

    def agrees(self, other: VolumeGrid) -> bool:
        """Tell whether two grids are equal to a twentieth of a voxel."""
        return self.distance_mm(other) <= _AGREE * float(self.spacing_mm.min())

    def with_spacing(self, spacing_mm: Sequence[float]) -> VolumeGrid:
        """Return a grid of the same extent, to half a voxel, with about the given spacing."""
        factors = np.asarray(spacing_mm) / self.spacing_mm
        shape = tuple(max(round(size / factor), 1) for size, factor in zip(self.shape, factors.tolist(), strict=True))
        change = np.diag([*factors, 1.0])
        change[:3, 3] = (factors - 1) / 2
        return VolumeGrid(shape, self.affine_ras @ change)

    def share_inside(self, other: VolumeGrid) -> float:
        """Return the fraction of this grid's voxels, on a coarse sample, whose centers lie in the other's box."""
        axes = [np.linspace(0, size - 1, min(size, 16)) for size in self.shape]
        index = np.stack([*np.meshgrid(*axes, indexing="ij"), np.ones([len(axis) for axis in axes])]).reshape(4, -1)
        found = (np.linalg.inv(other.affine_ras) @ self.affine_ras @ index)[:3].T
        inside = (found >= -0.5 - _AGREE) & (found <= np.array(other.shape) - 0.5 + _AGREE)
        return float(inside.all(1).mean())


def resample(values: Array, source: VolumeGrid, target: VolumeGrid, outside: float) -> npt.NDArray[np.float32]:
    """Resample a volume linearly to another grid.

    Along an axis whose voxels grow it is smoothed first, so that nothing falls between the new ones.

    Args:
        values: (*S) on the source.
        source: grid to come from.
        target: grid to go to.
        outside: value beyond the source.
    """
    import SimpleITK as sitk
    from scipy.ndimage import gaussian_filter

    to_source = np.linalg.solve(source.affine_ras, target.affine_ras)  # index in the target -> index in the source
    steps = np.abs(to_source[:3, :3]).max(1)  # of the source's voxels, along each of its axes
    widths = np.where(steps > 1, _SMOOTHING * (steps - 1), 0.0)
    smooth = gaussian_filter(np.asarray(values, np.float32), widths) if widths.any() else np.asarray(values, np.float32)
    transform = sitk.AffineTransform(3)
    transform.SetMatrix(to_source[:3, :3].ravel().tolist())
    transform.SetTranslation(to_source[:3, 3].tolist())
    image = sitk.GetImageFromArray(smooth.T)  # sitk's index order is the array's own
    size = [int(side) for side in target.shape]
    found = sitk.Resample(
        image, size, transform, sitk.sitkLinear, [0.0] * 3, [1.0] * 3, np.eye(3).ravel().tolist(), float(outside)
    )
    result: npt.NDArray[np.float32] = sitk.GetArrayFromImage(found).T
    return result
