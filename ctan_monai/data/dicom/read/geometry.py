"""The grid of a stack of slices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True, eq=False)
class Grid:
    """The grid of a stack of slices; the axes of arrays are rows, columns and slices.

    Args:
        shape: (rows, columns, slices).
        affine_lps: (4, 4) voxel index -> mm in DICOM's patient frame: x to the left, y to the back, z to the head.
    """

    shape: tuple[int, int, int]
    affine_lps: Floats

    @property
    def affine_ras(self) -> Floats:
        """Affine in RAS, as nibabel and MONAI use it."""
        return np.asarray(_LPS_TO_RAS @ self.affine_lps)

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance of neighboring rows, columns and slices."""
        rows, columns, slices = np.linalg.norm(self.affine_lps[:3, :3], axis=0)
        return float(rows), float(columns), float(slices)

    @property
    def normal(self) -> Floats:
        """Unit normal of the slices, towards rising slice indices."""
        cross = np.cross(self.affine_lps[:3, 1], self.affine_lps[:3, 0])
        cross /= np.linalg.norm(cross)
        return np.asarray(cross if cross @ self.affine_lps[:3, 2] > 0 else -cross)

    def to_index(self, points_lps: Floats) -> Floats:
        """Convert LPS points to continuous (row, column, slice) indices.

        Args:
            points_lps: (N, 3) mm.

        Returns:
            (N, 3).
        """
        inverse = np.linalg.inv(self.affine_lps)
        return np.asarray(points_lps @ inverse[:3, :3].T + inverse[:3, 3])

    def to_lps(self, index: Floats) -> Floats:
        """Convert (row, column, slice) indices to LPS points.

        Args:
            index: (N, 3).

        Returns:
            (N, 3) mm.
        """
        return np.asarray(index @ self.affine_lps[:3, :3].T + self.affine_lps[:3, 3])


def grid_from_ras(shape: tuple[int, ...], affine_ras: Floats) -> Grid:
    """Create the grid of a case whose last axis runs through the slices.

    Args:
        shape: (rows, columns, slices).
        affine_ras: (4, 4) voxel index -> mm.
    """
    rows, columns, slices = shape
    return Grid((rows, columns, slices), np.asarray(_LPS_TO_RAS @ affine_ras))


def plane_affine(row_cosines: Array, column_cosines: Array, pixel_mm: Array, origin_lps: Array, step: Array) -> Floats:
    """Compute the affine of a stack.

    Args:
        row_cosines: (3,) direction in which the column index rises: the first half of ImageOrientationPatient.
        column_cosines: (3,) direction in which the row index rises: its second half.
        pixel_mm: PixelSpacing: distance of rows, distance of columns.
        origin_lps: (3,) center of the first voxel, mm.
        step: (3,) from one slice to the next, mm.

    Returns:
        (4, 4) for indices (row, column, slice).
    """
    affine = np.eye(4)
    affine[:3, 0] = np.asarray(column_cosines) * pixel_mm[0]
    affine[:3, 1] = np.asarray(row_cosines) * pixel_mm[1]
    affine[:3, 2] = step
    affine[:3, 3] = origin_lps
    return affine
