"""The shape of a structure in a slice that lies between two planes with contours."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from ctan_monai.data.dicom.geometry import Floats
from ctan_monai.data.dicom.planes import Plane
from ctan_monai.data.dicom.rasterise import Box, Mask, fill

_STEP = 0.25  # pixels between the points that stand for an outline


class FilledPlane:
    """The contours of one plane, filled.

    Args:
        plane: contours.
        box: part of the slice to look at.
        united: fill their union instead of their exclusive or.
        pixel_mm: distance of rows, distance of columns.
    """

    def __init__(self, plane: Plane, box: Box, united: bool, pixel_mm: tuple[float, float]) -> None:
        self._polygons, self._box, self._pixel_mm = plane.polygons, box, np.array(pixel_mm)
        if united and len(plane.polygons) > 1:
            self.mask: Mask = np.asarray(np.logical_or.reduce([fill([each], box) for each in plane.polygons]))
        else:
            self.mask = fill(plane.polygons, box)

    @cached_property
    def depth_mm(self) -> Floats:
        """How far inside the outlines each voxel's centre lies, negative outside; as large as the box's mask."""
        from scipy.spatial import cKDTree

        points = np.concatenate([_along(polygon) for polygon in self._polygons])
        top, bottom, left, right = self._box
        centres = np.stack(np.meshgrid(np.arange(top, bottom), np.arange(left, right), indexing="ij"), axis=-1)
        distance = cKDTree(points * self._pixel_mm).query(centres * self._pixel_mm)[0]
        return np.asarray(np.where(self.mask, distance, -distance))


def between(low: FilledPlane, high: FilledPlane, share: float) -> Mask:
    """Return the shape at a share of the way from one plane to another, linear in the distance to the outline."""
    return np.asarray((1 - share) * low.depth_mm + share * high.depth_mm > 0)


def _along(polygon: Floats) -> Floats:
    """Return points along a polygon's edges, close enough to measure distances to."""
    edges = np.roll(polygon, -1, axis=0) - polygon
    counts = np.maximum(np.ceil(np.linalg.norm(edges, axis=1) / _STEP), 1).astype(int)
    edge = np.repeat(np.arange(len(polygon)), counts)
    number = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.asarray(polygon[edge] + edges[edge] * (number / counts[edge])[:, None])
