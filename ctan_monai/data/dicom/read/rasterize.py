"""Rasterization of polygons: the voxel centers inside.

Even-odd rule by scan lines: the columns at which a polygon's edges cross the line through a row's centers are
found, and the voxels after an odd number of crossings are inside. Doing this for the edges of several polygons at
once gives their exclusive or, so that an inner contour is a hole, and the two sides of a keyhole's channel cancel.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ctan_monai.data.dicom.read.geometry import Floats

Mask = npt.NDArray[np.bool_]
Box = tuple[int, int, int, int]  # first row, row after the last, first column, column after the last


def bounding_box(polygons: Sequence[Floats], shape: tuple[int, int]) -> Box:
    """Return the bounding box of polygons in voxels.

    Args:
        polygons: (N, 2) points as (row, column), not empty.
        shape: (rows, columns) of the image.
    """
    low = np.min([polygon.min(axis=0) for polygon in polygons], axis=0)
    high = np.max([polygon.max(axis=0) for polygon in polygons], axis=0)
    first = np.clip(np.ceil(low), 0, shape).astype(int)
    last = np.clip(np.floor(high) + 1, first, shape).astype(int)
    return int(first[0]), int(last[0]), int(first[1]), int(last[1])


def fill(polygons: Sequence[Floats], box: Box) -> Mask:
    """Rasterize the exclusive or of polygons within a box.

    Args:
        polygons: (N, 2) points as (row, column), fractions of voxels; voxel centers lie at whole numbers.
        box: where to look.

    Returns:
        (rows of the box, columns of the box).
    """
    top, bottom, left, right = box
    height, width = bottom - top, right - left
    if height <= 0 or width <= 0:
        return np.zeros((max(height, 0), max(width, 0)), np.bool_)
    rows, crossings, _ = _crossings(polygons, top, bottom)
    # A voxel is after a crossing if its center is at or right of it.
    columns = np.clip(np.ceil(crossings) - left, 0, width).astype(np.intp)
    toggles = np.bincount((rows - top) * (width + 1) + columns, minlength=height * (width + 1))
    parity = (toggles & 1).astype(np.uint8).reshape(height, width + 1)[:, :width]
    return np.bitwise_xor.accumulate(parity, axis=1).astype(np.bool_)


def wound_twice(polygon: Floats, box: Box) -> Mask:
    """Mark where a polygon's winding number exceeds 1, within a box that is not empty."""
    top, bottom, left, right = box
    height, width = bottom - top, right - left
    rows, crossings, upwards = _crossings([polygon], top, bottom)
    columns = np.clip(np.ceil(crossings) - left, 0, width).astype(np.intp)
    at = (rows - top) * (width + 1) + columns
    turns = np.bincount(at, weights=np.where(upwards, -1.0, 1.0), minlength=height * (width + 1))
    return np.asarray(np.abs(np.cumsum(turns.reshape(height, width + 1)[:, :width], axis=1)) > 1.5)


def _crossings(
    polygons: Sequence[Floats], top: int, bottom: int
) -> tuple[npt.NDArray[np.intp], Floats, npt.NDArray[np.bool_]]:
    """Return every crossing of an edge with a row's center line: row, column, and whether the edge runs upwards."""
    starts = np.concatenate(polygons)
    ends = np.concatenate([np.roll(polygon, -1, axis=0) for polygon in polygons])
    swap = (starts[:, 0] > ends[:, 0]) | ((starts[:, 0] == ends[:, 0]) & (starts[:, 1] > ends[:, 1]))
    # Edges run downwards, so that the two sides of a keyhole's channel give the same crossings in every bit.
    low, high = np.where(swap[:, None], ends, starts), np.where(swap[:, None], starts, ends)
    first = np.clip(np.ceil(low[:, 0]), top, bottom).astype(np.intp)
    after = np.clip(np.ceil(high[:, 0]), top, bottom).astype(np.intp)  # half open: a shared vertex counts once
    counts = np.maximum(after - first, 0)
    edge = np.repeat(np.arange(len(low)), counts)
    rows = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts) + first[edge]
    share = (rows - low[edge, 0]) / (high[edge, 0] - low[edge, 0])
    return rows, low[edge, 1] + share * (high[edge, 1] - low[edge, 1]), swap[edge]
