"""Arrays in DICOM's order of planes, rows and columns, and contours traced in a plane."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ctan_monai.data.dicom.write.reference import CtReference, Floats
from ctan_monai.errors import DataError

_PARALLEL = 1 - 1e-5  # cosine of 0.26 degrees: affines come in float32 and through NIfTI
_REMEDY = "Resample to a grid whose planes and rows are parallel to the CT's, such as CtReference.affine_ras."
Points = npt.NDArray[np.float64]
_STRAIGHT = 1e-9  # area of a triangle, in pixels, below which its middle point says nothing


@dataclass(frozen=True, eq=False)
class Planes:
    """An array in DICOM's order of planes, rows and columns.

    Args:
        voxels: (K, R, C).
        origin_mm: (3,) LPS of the first voxel's center.
        step_mm: (3, 3) LPS from a voxel to the next slice, row, column.
        axes: (3, 3) the CT's unit vectors along row, column and normal.
    """

    voxels: npt.NDArray[Any]
    origin_mm: Floats
    step_mm: Floats
    axes: Floats

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance of planes along the normal, of rows, of columns."""
        rows, columns = np.linalg.norm(self.step_mm[1:], axis=1)
        return float(self.step_mm[0] @ self.axes[2]), float(rows), float(columns)

    @property
    def sheared_mm(self) -> float:
        """Shear of the last plane against the normal, as in a CT with a tilted gantry."""
        slide = self.step_mm[0] - (self.step_mm[0] @ self.axes[2]) * self.axes[2]
        return float(np.linalg.norm(slide)) * (len(self.voxels) - 1)

    def along_mm(self, plane: int) -> float:
        """Return a plane's position along the normal."""
        return float((self.origin_mm + plane * self.step_mm[0]) @ self.axes[2])

    def where_mm(self, plane: int, column_row: Floats) -> Floats:
        """Convert points (N, 2), columns and rows of a plane, to LPS (N, 3)."""
        start = self.origin_mm + plane * self.step_mm[0]
        found: Floats = start + column_row[:, :1] * self.step_mm[2] + column_row[:, 1:] * self.step_mm[1]
        return found


def in_planes(array: npt.NDArray[Any], affine_ras: npt.NDArray[Any], reference: CtReference, what: str) -> Planes:
    """Reorient an array to the CT's order, values unchanged.

    Args:
        array: three axes in any order.
        affine_ras: (4, 4) voxel index -> mm.
        reference: the CT.
        what: for messages.

    Raises:
        DataError: the array has not three axes, or its planes or rows are not parallel to the CT's.
    """
    if array.ndim != 3 or np.shape(affine_ras) != (4, 4):
        reason = f"its shape is {array.shape} and its affine's {np.shape(affine_ras)}, expected three axes and (4, 4)."
        raise DataError(what, None, reason, "Give one volume.")
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ np.asarray(affine_ras, np.float64)
    steps = lps[:3, :3].T  # (3 array axes, 3)
    unit = steps / np.maximum(np.linalg.norm(steps, axis=1, keepdims=True), 1e-12)
    cosine = unit @ reference.axes.T  # (array axis, row | column | normal)
    row, column = int(np.abs(cosine[:, 0]).argmax()), int(np.abs(cosine[:, 1]).argmax())
    parallel = min(abs(cosine[row, 0]), abs(cosine[column, 1])) > _PARALLEL and row != column
    if not parallel or not np.isfinite(lps).all():
        reason = f"its axes {np.round(unit, 4).tolist()} are not the CT's {np.round(reference.axes, 4).tolist()} (LPS)."
        raise DataError(what, None, reason, _REMEDY)
    order = (3 - row - column, column, row)  # planes, rows, columns
    signs = np.sign([cosine[order[0], 2], cosine[column, 1], cosine[row, 0]])
    origin, step = lps[:3, 3].copy(), steps[list(order)].copy()
    voxels = array.transpose(order)
    for axis, sign in enumerate(signs):
        if sign < 0:
            voxels = np.flip(voxels, axis)
            origin += (voxels.shape[axis] - 1) * step[axis]
            step[axis] *= -1
    return Planes(voxels, origin, step, reference.axes)


def straightened(planes: Planes) -> Planes:
    """Resample sheared planes (tilted gantry) linearly to rectangular ones.

    RTDOSE cannot say that planes slide: its frames lie along the normal. The new grid is as wide as it must be to
    hold the old one; what lies outside that is 0.
    """
    if planes.sheared_mm < 1e-2:
        return planes
    from scipy.ndimage import shift

    _, row_mm, column_mm = planes.spacing_mm
    slide = planes.step_mm[0] - (planes.step_mm[0] @ planes.axes[2]) * planes.axes[2]
    per_plane = np.array([slide @ planes.axes[1] / row_mm, slide @ planes.axes[0] / column_mm])  # rows, columns
    moves = np.arange(len(planes.voxels))[:, None] * per_plane  # (K, 2)
    low, high = np.floor(moves.min(0)).astype(int), np.ceil(moves.max(0)).astype(int)
    padded = np.pad(planes.voxels.astype(np.float64), [(0, 0), *zip(-low, high, strict=True)])
    for plane, move in zip(padded, moves, strict=True):
        plane[...] = shift(plane.copy(), move, order=1, prefilter=False)
    origin = planes.origin_mm + low[0] * planes.step_mm[1] + low[1] * planes.step_mm[2]
    step = planes.step_mm.copy()
    step[0] -= slide
    return Planes(padded, origin, step, planes.axes)


def contours_of_mask(mask: npt.NDArray[np.bool_]) -> list[Points]:
    """Trace the edges of a plane's mask.

    A contour runs half-way between a voxel inside and its neighbor outside, and cuts corners, so that a program
    that asks which voxel centers lie inside gets the mask back exactly. Voxels that touch at a corner only are not
    joined. Outer edges run one way, the edges of holes the other.

    Args:
        mask: (R, C).

    Returns:
        Closed polygons (N, 2) of (column, row), the first point not repeated.
    """
    held = np.argwhere(mask)
    if not held.size:
        return []
    (top, left), (bottom, right) = held.min(0), held.max(0) + 1
    padded = np.pad(mask[top:bottom, left:right], 1).astype(np.float64)
    return [points + np.array([left - 1, top - 1]) for points in contours_of_level(padded)]


def contours_of_level(values: npt.NDArray[Any], level: float = 0.5) -> list[Points]:
    """Trace the iso-contour of a level, interpolating linearly between voxel centers.

    Args:
        values: (R, C), above the level inside, below it along the border.
        level: the level.

    Returns:
        Closed polygons (N, 2) of (column, row), the first point not repeated; those that the border cuts are closed
        along a straight line.
    """
    from contourpy import LineType, ZInterp, contour_generator

    tracer = contour_generator(
        z=np.asarray(values, np.float64), name="serial", line_type=LineType.Separate, z_interp=ZInterp.Linear
    )
    lines: list[Any] = list(tracer.lines(level))
    found = [_without_needless(np.asarray(line, np.float64)) for line in lines]
    return [points for points in found if len(points) >= 3]


def _without_needless(points: Points) -> Points:
    """Remove the repeated end point and collinear points."""
    if len(points) > 1 and (points[0] == points[-1]).all():
        points = points[:-1]
    to_next, from_last = np.roll(points, -1, axis=0) - points, points - np.roll(points, 1, axis=0)
    area = from_last[:, 0] * to_next[:, 1] - from_last[:, 1] * to_next[:, 0]
    return points[np.abs(area) > _STRAIGHT]
