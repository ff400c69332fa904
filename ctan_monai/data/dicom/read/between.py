"""The shape of a structure in a slice that lies between two planes with contours."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from ctan_monai.data.dicom.read.geometry import Floats
from ctan_monai.data.dicom.read.nesting import Nesting
from ctan_monai.data.dicom.read.rasterize import Box, Mask

_STEP = 0.25  # pixels between the points that stand for an outline


class FilledPlane:
    """The contours of one plane, filled when they are asked for.

    Args:
        nesting: the plane's contours and how they combine.
        box: part of the slice to look at.
        pixel_mm: distance of rows, distance of columns.
    """

    def __init__(self, nesting: Nesting, box: Box, pixel_mm: tuple[float, float]) -> None:
        self.nesting, self._box, self._pixel_mm = nesting, box, np.array(pixel_mm)

    @cached_property
    def mask(self) -> Mask:
        """What lies inside; as large as the box."""
        return self.nesting.fill(self._box)

    @cached_property
    def depth_mm(self) -> Floats:
        """How far inside the outlines each voxel's center lies, negative outside; as large as the box's mask."""
        from scipy.spatial import cKDTree

        top, bottom, left, right = self._box
        centers = np.stack(np.meshgrid(np.arange(top, bottom), np.arange(left, right), indexing="ij"), axis=-1)
        points = self._edge()
        if not len(points):
            return np.full(self.mask.shape, -np.inf)
        distance = cKDTree(points * self._pixel_mm).query(centers * self._pixel_mm)[0]
        return np.asarray(np.where(self.mask, distance, -distance))

    def _edge(self) -> Floats:
        """Return points along the contours, without those amid voxels that are all inside, where contours cross."""
        points = np.concatenate([_along(each.points) for each in self.nesting.outlines] or [np.zeros((0, 2))])
        if len(self.nesting.outlines) < 2:
            return points
        top, _, left, _ = self._box
        around = np.pad(self.mask, 2)
        row, column = np.clip(np.floor(points).astype(int) - [top - 2, left - 2], 0, np.array(around.shape) - 2).T
        amid = around[row, column] & around[row + 1, column] & around[row, column + 1] & around[row + 1, column + 1]
        return points[~amid] if not amid.all() else points


def between(low: FilledPlane, high: FilledPlane, share: float) -> Mask:
    """Return the shape at a fraction of the way from one plane to another, linear in the distance to the outline."""
    return np.asarray((1 - share) * low.depth_mm + share * high.depth_mm > 0)


def _along(polygon: Floats) -> Floats:
    """Return points along a polygon's edges, close enough to measure distances to."""
    edges = np.roll(polygon, -1, axis=0) - polygon
    counts = np.maximum(np.ceil(np.linalg.norm(edges, axis=1) / _STEP), 1).astype(int)
    edge = np.repeat(np.arange(len(polygon)), counts)
    number = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.asarray(polygon[edge] + edges[edge] * (number / counts[edge])[:, None])
