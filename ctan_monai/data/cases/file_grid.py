"""Grids of cases and of their source files: comparison, reorientation and resampling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ctan_monai.aliases import current_record
from ctan_monai.data.cases.grid import corner_distance_mm, reoriented
from ctan_monai.data.cases.resample import Resample, linear_in_index

Array = npt.NDArray[Any]
NATIVE_GRID = "native_grid"  # in a case's meta
_EQUAL = 1e-3  # of a voxel
_AGREE = 0.05  # of a voxel: headers round, and qform and sform differ in the sixth digit
_SMOOTHING = 0.35  # standard deviation of the filter before shrinking, in new voxels: half of the usual half width


@dataclass(frozen=True, eq=False)
class Grid:
    """The grid of a volume or an image: shape and affine.

    Args:
        shape: (*S), two or three axes.
        affine_ras: (4, 4) index -> mm; of an image its first two columns are the axes.
        box: first row, first column, rows and columns of the part of an image that its case was made of; None: all.
    """

    shape: tuple[int, ...]
    affine_ras: npt.NDArray[np.float64]
    box: tuple[int, int, int, int] | None = None

    def to_meta(self) -> dict[str, Any]:
        """Serialize the grid for a case's meta."""
        about = {} if self.box is None else {"box": list(self.box)}
        return {"shape": list(self.shape), "affine_ras": self.affine_ras.tolist(), **about}

    def cut(self, values: Array) -> Array:
        """Cut an image (rows, columns) on this grid to the box."""
        top, left, rows, columns = self.box or (0, 0, *self.shape)
        return values[top : top + rows, left : left + columns]

    def only_inside(self, values: Array) -> Array:
        """Set an image (rows, columns) on this grid to 0 outside of the box."""
        if self.box is None:
            return values
        found = np.zeros_like(values)
        self.cut(found)[:] = self.cut(values)
        return found

    def is_at(self, shape: Sequence[int], affine_ras: Array) -> bool:
        """Tell whether another grid is equal to this one."""
        if tuple(shape) != self.shape:
            return False
        closest_mm = float(np.linalg.norm(self.affine_ras[:3, : len(self.shape)], axis=0).min())
        return corner_distance_mm(self.affine_ras, affine_ras, shape) <= _EQUAL * closest_mm

    @property
    def spacing_mm(self) -> npt.NDArray[np.float64]:
        """Distance of neighboring voxels along each axis."""
        lengths: npt.NDArray[np.float64] = np.linalg.norm(self.affine_ras[:3, :3], axis=0)
        return lengths

    def distance_mm(self, other: Grid) -> float:
        """Return the largest distance between corresponding corners, in mm; infinite if the shapes differ."""
        if self.shape != other.shape:
            return float("inf")
        return corner_distance_mm(self.affine_ras, other.affine_ras, self.shape)

    def agrees(self, other: Grid) -> bool:
        """Tell whether two grids are equal to a twentieth of a voxel."""
        return self.distance_mm(other) <= _AGREE * float(self.spacing_mm.min())

    def with_spacing(self, spacing_mm: Sequence[float]) -> Grid:
        """Return a grid of the same extent, to half a voxel, with about the given spacing."""
        factors = np.asarray(spacing_mm) / self.spacing_mm
        shape = tuple(max(round(size / factor), 1) for size, factor in zip(self.shape, factors.tolist(), strict=True))
        change = np.diag([*factors, 1.0])
        change[:3, 3] = (factors - 1) / 2
        return Grid(shape, self.affine_ras @ change)

    def share_inside(self, other: Grid) -> float:
        """Return the fraction of this grid's voxels, on a coarse sample, whose centers lie in the other's box."""
        axes = [np.linspace(0, size - 1, min(size, 16)) for size in self.shape]
        index = np.stack([*np.meshgrid(*axes, indexing="ij"), np.ones([len(axis) for axis in axes])]).reshape(4, -1)
        found = (np.linalg.inv(other.affine_ras) @ self.affine_ras @ index)[:3].T
        inside = (found >= -0.5 - _AGREE) & (found <= np.array(other.shape) - 0.5 + _AGREE)
        return float(inside.all(1).mean())

    def reoriented(self, axcodes: str) -> Grid:
        """Return the grid with its axes permuted and flipped, the nearest for oblique ones, see `reorient`."""
        turned, affine_ras = reoriented(np.broadcast_to(0, self.shape), self.affine_ras, axcodes)
        return Grid(turned.shape, affine_ras)

    @property
    def in_space(self) -> tuple[int, int, int]:
        """Shape with three axes."""
        first, second, third = (*self.shape, 1)[:3]
        return first, second, third


def native_grid_of(meta: Mapping[str, Any]) -> Grid | None:
    """Return the grid of a case's source file, None if unknown."""
    found = current_record(meta).get(NATIVE_GRID)
    if found is None:
        return None
    box: tuple[int, int, int, int] | None = None
    if "box" in found:
        top, left, rows, columns = map(int, found["box"])
        box = (top, left, rows, columns)
    return Grid(tuple(found["shape"]), np.array(found["affine_ras"], np.float64), box)


def reorient_to(values: Array, source: Grid, target: Grid) -> Array | None:
    """Reorient an array (*S) to another grid; None if that needs interpolation.

    Values are not changed. Images are never turned.
    """
    import nibabel as nib

    if source.is_at(target.shape, target.affine_ras):
        return values
    if values.ndim != 3:
        return None
    found, affine_ras = reoriented(values, source.affine_ras, nib.aff2axcodes(target.affine_ras))
    return np.ascontiguousarray(found) if target.is_at(found.shape, affine_ras) else None


def resample_to(values: Array, source: Grid, target: Grid) -> Array:
    """Resample an array (*S) to another grid: reorient if that is enough, else interpolate linearly.

    Of whole numbers from 0 to 255 in uint8, which are masks and label maps, each number's share is interpolated, and
    those of at least one half are kept; other integers are rounded.
    """
    found = reorient_to(values, source, target)
    if found is not None:
        return found
    way = Resample(source.affine_ras, target.affine_ras, target.in_space)
    dense = values.reshape(source.in_space)
    if values.dtype != np.uint8:
        there = way.linear(dense).reshape(target.shape)
        return there if values.dtype.kind == "f" else np.rint(there).astype(values.dtype)
    labels = np.zeros(target.in_space, np.uint8)
    for number in np.unique(dense[dense > 0]):
        labels[way.mask((dense == number).astype(np.float32))] = number
    return labels.reshape(target.shape)


def resample(values: Array, source: Grid, target: Grid, outside: float) -> npt.NDArray[np.float32]:
    """Resample a volume linearly to another grid.

    Along an axis whose voxels grow it is smoothed first, so that nothing falls between the new ones.

    Args:
        values: (*S) on the source.
        source: grid to come from.
        target: grid to go to.
        outside: value beyond the source.
    """
    from scipy.ndimage import gaussian_filter

    to_source = np.linalg.solve(source.affine_ras, target.affine_ras)  # index in the target -> index in the source
    steps = np.abs(to_source[:3, :3]).max(1)  # of the source's voxels, along each of its axes
    widths = np.where(steps > 1, _SMOOTHING * (steps - 1), 0.0)
    smooth = gaussian_filter(np.asarray(values, np.float32), widths) if widths.any() else np.asarray(values, np.float32)
    return linear_in_index(smooth, to_source[:3, :3], to_source[:3, 3], target.shape, outside)
