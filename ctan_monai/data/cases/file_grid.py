"""The grid of a case's source file, to which predictions are resampled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ctan_monai.data.cases.grid import corner_distance_mm
from ctan_monai.data.cases.resample import Resample

Array = npt.NDArray[Any]
OWN_GRID = "own_grid"  # in a case's meta
_EQUAL = 1e-3  # of a voxel


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
    def in_space(self) -> tuple[int, int, int]:
        """Shape with three axes."""
        first, second, third = (*self.shape, 1)[:3]
        return first, second, third


def own_grid_of(meta: Mapping[str, Any]) -> Grid | None:
    """Return the grid of a case's source file, None if unknown."""
    found = meta.get(OWN_GRID)
    if found is None:
        return None
    box: tuple[int, int, int, int] | None = None
    if "box" in found:
        top, left, rows, columns = map(int, found["box"])
        box = (top, left, rows, columns)
    return Grid(tuple(found["shape"]), np.array(found["affine_ras"], np.float64), box)


def turned(values: Array, source: Grid, target: Grid) -> Array | None:
    """Reorient an array (*S) to another grid; None if that needs interpolation.

    Values are not changed. Images are never turned.
    """
    import nibabel as nib

    if source.is_at(target.shape, target.affine_ras):
        return values
    if values.ndim != 3:
        return None
    here, there = nib.io_orientation(source.affine_ras), nib.io_orientation(target.affine_ras)
    change = nib.orientations.ornt_transform(here, there)
    found: Array = np.ascontiguousarray(nib.orientations.apply_orientation(values, change))
    affine_ras = source.affine_ras @ nib.orientations.inv_ornt_aff(change, values.shape)
    return found if target.is_at(found.shape, affine_ras) else None


def moved(values: Array, source: Grid, target: Grid) -> Array:
    """Resample an array (*S) to another grid: reorient if that is enough, else interpolate linearly.

    Of whole numbers from 0 to 255 in uint8, which are masks and label maps, each number's share is interpolated, and
    those of at least one half are kept; other integers are rounded.
    """
    found = turned(values, source, target)
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
