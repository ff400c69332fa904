"""Contours of masks and of distances, finer than a voxel."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Points = npt.NDArray[np.float64]
_STRAIGHT = 1e-9  # area of a triangle, in pixels, below which its middle point says nothing


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
    """Trace where values between voxel centers reach a level, linear from center to center.

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
    """Leave out the repeated end and points on a straight line between their neighbors."""
    if len(points) > 1 and (points[0] == points[-1]).all():
        points = points[:-1]
    to_next, from_last = np.roll(points, -1, axis=0) - points, points - np.roll(points, 1, axis=0)
    area = from_last[:, 0] * to_next[:, 1] - from_last[:, 1] * to_next[:, 0]
    return points[np.abs(area) > _STRAIGHT]
