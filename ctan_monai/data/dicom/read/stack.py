"""Planes of a structure's contours, and interpolation between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ctan_monai.data.dicom.read.contours import Roi
from ctan_monai.data.dicom.read.geometry import Floats, Grid
from ctan_monai.data.dicom.read.nesting import Nesting, Outline, nesting_of
from ctan_monai.data.dicom.read.rasterize import Box, Mask, bounding_box
from ctan_monai.errors import DataError

_SAME_MM, _SAME_SLICES = 0.1, 0.05  # contours this close together may lie in one plane that was rounded
_EXACT_MM = 1e-3  # those of dense planes lie in one plane if they are this close
_FLAT_MM = 0.5  # a contour's points may lie this far from its plane (tilted scans written with few digits)
_FLAT_SLICES = 0.25  # and at most this fraction of the distance of slices

Placed = tuple[float, Outline]
_STEP = 0.25  # pixels between the points that stand for an outline
_TIE = 1e-6
_ON_SLICE = 0.15  # slices; a contour this close to a slice is taken as drawn on it
_GAP_SLACK = 1.5  # a gap wider than this times the structure's usual one parts it in two
_USUAL_GAP_MAX = 3.0  # slices; who draws more seldom than on every third slice means separate parts


@dataclass(frozen=True, eq=False)
class Plane:
    """The contours of a structure in one plane.

    Args:
        slice: where it lies on the axis of the slices, as a fraction of them.
        outlines: its contours.
    """

    slice: float
    outlines: tuple[Outline, ...]


def planes_of(roi: Roi, grid: Grid) -> list[list[Plane]]:
    """Sort a structure's contours into planes parallel to a grid's slices.

    Returns:
        The parts of the structure that lie beside each other, each as its planes by rising slice.

    Raises:
        DataError: a contour is not parallel to the slices, or no contour lies within the grid.
    """
    flat_slices = min(_FLAT_MM / grid.spacing_mm[2], _FLAT_SLICES)
    found: list[Placed] = []
    for number, contour in enumerate(roi.contours):
        index = grid.to_index(contour)
        depth = float(np.median(index[:, 2]))
        away = float(np.abs(index[:, 2] - depth).max())
        if away > flat_slices:
            found_mm = away * grid.spacing_mm[2]
            reason = (
                f"a contour of {roi.name} is not parallel to the CT's slices (it leaves them by {found_mm:.1f} mm)."
            )
            raise DataError("structure set", None, reason, "Leave this structure out, or draw it on the CT's slices.")
        found.append((depth, Outline(index[:, :2], number in roi.exclusive, grid.spacing_mm[:2])))
    inside = any(-0.5 <= depth <= grid.shape[2] - 0.5 for depth, _ in found)
    if found and not inside:
        reason = f"no contour of {roi.name} lies within the CT."
        raise DataError("structure set", None, reason, "Give the CT on which it was drawn.")
    parts = _beside_each_other(found, grid.shape[:2])
    return [_grouped(part, grid.spacing_mm[2]) for part in parts]


def _beside_each_other(contours: Sequence[Placed], shape: tuple[int, int]) -> list[list[Placed]]:
    """Group contours whose bounding rectangles do not touch into parts with planes of their own."""
    from scipy import ndimage

    if not contours:
        return []
    limit = np.array(shape) + 1
    corners = [
        (np.clip(np.floor(each.low), -2, limit).astype(int) + 2, np.clip(np.ceil(each.high), -2, limit).astype(int) + 3)
        for _, each in contours
    ]
    seen = np.zeros(limit + 4, np.bool_)
    for low, high in corners:
        seen[low[0] : high[0], low[1] : high[1]] = True
    labels, count = ndimage.label(seen)
    parts: list[list[Placed]] = [[] for _ in range(count)]
    for each, (low, _) in zip(contours, corners, strict=True):
        parts[labels[low[0], low[1]] - 1].append(each)
    return parts


def _grouped(contours: Sequence[Placed], spacing_mm: float) -> list[Plane]:
    """Group contours by depth, with a tolerance for rounding."""
    same = min(_SAME_MM / spacing_mm, _SAME_SLICES)
    planes: list[Plane] = []
    for chain in _chains(sorted(contours, key=lambda each: each[0]), same):
        dense = chain[-1][0] - chain[0][0] > same
        for group in _chains(chain, _EXACT_MM / spacing_mm) if dense else [chain]:
            planes.append(Plane(group[0][0], tuple(outline for _, outline in group)))
    return planes


def _chains(contours: Sequence[Placed], step: float) -> list[list[Placed]]:
    chains: list[list[Placed]] = []
    for each in contours:
        if chains and each[0] - chains[-1][-1][0] <= step:
            chains[-1].append(each)
        else:
            chains.append([each])
    return chains


class FilledPlane:
    """The rasterized contours of one plane, computed when needed.

    Args:
        nesting: the plane's contours and how they combine.
        box: part of the slice to look at.
        pixel_mm: distance of rows, distance of columns.
    """

    def __init__(self, nesting: Nesting, box: Box, pixel_mm: tuple[float, float]) -> None:
        self.nesting, self._box, self._pixel_mm = nesting, box, np.array(pixel_mm)

    @cached_property
    def mask(self) -> Mask:
        """Mask of the inside, as large as the box."""
        return self.nesting.fill(self._box)

    @cached_property
    def depth_mm(self) -> Floats:
        """Signed distance of each voxel's center to the contours, positive inside; as large as the box."""
        from scipy.spatial import cKDTree

        top, bottom, left, right = self._box
        centers = np.stack(np.meshgrid(np.arange(top, bottom), np.arange(left, right), indexing="ij"), axis=-1)
        points = self._edge()
        if not len(points):
            return np.full(self.mask.shape, -np.inf)
        distance = cKDTree(points * self._pixel_mm).query(centers * self._pixel_mm)[0]
        return np.asarray(np.where(self.mask, distance, -distance))

    def _edge(self) -> Floats:
        """Return points along the boundary of the contours' union."""
        points = np.concatenate([_along(each.points) for each in self.nesting.outlines] or [np.zeros((0, 2))])
        if len(self.nesting.outlines) < 2:
            return points
        top, _, left, _ = self._box
        around = np.pad(self.mask, 2)
        row, column = np.clip(np.floor(points).astype(int) - [top - 2, left - 2], 0, np.array(around.shape) - 2).T
        amid = around[row, column] & around[row + 1, column] & around[row, column + 1] & around[row + 1, column + 1]
        return points[~amid] if not amid.all() else points


def between(low: FilledPlane, high: FilledPlane, share: float) -> Mask:
    """Interpolate the shape between two planes, linearly in the signed distance."""
    return np.asarray((1 - share) * low.depth_mm + share * high.depth_mm > 0)


def _along(polygon: Floats) -> Floats:
    """Return points along a polygon's edges, close enough to measure distances to."""
    edges = np.roll(polygon, -1, axis=0) - polygon
    counts = np.maximum(np.ceil(np.linalg.norm(edges, axis=1) / _STEP), 1).astype(int)
    edge = np.repeat(np.arange(len(polygon)), counts)
    number = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.asarray(polygon[edge] + edges[edge] * (number / counts[edge])[:, None])


class Stack:
    """The planes of one part of a structure, rasterized where a slice needs them.

    Args:
        planes: by rising slice, not empty.
        grid: of the CT.
        united: contours within contours are no holes.
        usual: depths of all planes of the structure, which tell the distance of planes where this part has few.
    """

    def __init__(self, planes: Sequence[Plane], grid: Grid, united: bool, usual: Floats) -> None:
        nestings = [nesting_of(plane.outlines, united) for plane in planes]
        self.nestings = nestings
        held = [number for number, nesting in enumerate(nestings) if nesting.outlines]
        self.depths = np.array([planes[number].slice for number in held])
        self.box = bounding_box([each.points for plane in planes for each in plane.outlines], grid.shape[:2])
        self.filled = [FilledPlane(nestings[number], self.box, grid.spacing_mm[:2]) for number in held]
        self.used: set[int] = set()  # planes that a slice took as they are
        self.interpolated: set[int] = set()  # slices
        self._spacing_mm, self._slices, self._all = grid.spacing_mm, grid.shape[2], usual

    def fill(self, mask: Mask, interpolate: bool) -> None:
        """Add this part to a structure's mask (rows, columns, slices)."""
        if not len(self.depths):
            return
        first, last = max(0, round(self.depths[0]) - 1), min(self._slices, round(self.depths[-1]) + 2)
        for number in range(first, last):
            found = self._slice(number, interpolate)
            if found is not None:
                mask[self.box[0] : self.box[1], self.box[2] : self.box[3], number] |= found

    def volume_mm3(self) -> float:
        """Return the volume of the contours: each area times the thickness of its slab."""
        areas = [each.nesting.area_mm2() for each in self.filled]
        below = above = np.zeros(0)
        if len(areas):
            gaps = np.diff(self.depths)
            halves = np.where(gaps <= _GAP_SLACK * self._usual_gap, gaps / 2, self._reach)
            below, above = np.append(self._reach, halves), np.append(halves, self._reach)
        return float(np.dot(areas, below + above)) * self._spacing_mm[2]

    def _slice(self, number: int, interpolate: bool) -> Mask | None:
        """Return the mask of a slice; None if this part does not reach it."""
        at = number + _TIE  # exactly between two slices, a plane belongs to the lower one
        nearest = int(np.abs(self.depths - at).argmin())
        away = float(abs(self.depths[nearest] - at))
        above = int(np.searchsorted(self.depths, at))
        if away > _ON_SLICE and interpolate and 0 < above < len(self.depths):
            gap = float(self.depths[above] - self.depths[above - 1])
            if gap <= _GAP_SLACK * self._usual_gap:
                self.interpolated.add(number)
                share = (at - float(self.depths[above - 1])) / gap
                return between(self.filled[above - 1], self.filled[above], share)
        if away >= max(self._reach, _ON_SLICE):
            return None
        self.used.add(nearest)
        return self.filled[nearest].mask

    @cached_property
    def _usual_gap(self) -> float:
        """Usual distance of neighboring planes, at least that of slices."""
        gaps = next((each for each in (_gaps(self.depths), _gaps(self._all)) if len(each) > 1), np.ones(1))
        usual = float(np.median(gaps))
        return max(1.0, usual) if usual <= _USUAL_GAP_MAX + _ON_SLICE else 1.0

    @cached_property
    def _reach(self) -> float:
        """Extent beyond the outermost contours, in slices."""
        gaps = next((each for each in (_gaps(self.depths), _gaps(self._all)) if len(each)), np.ones(1))
        return min(0.5, float(np.median(gaps)) / 2)


def _gaps(depths: Floats) -> Floats:
    """Return the distances of neighboring planes, merging those of the same slice."""
    apart: list[float] = []
    for depth in np.sort(depths):
        if not apart or depth - apart[-1] > _ON_SLICE:
            apart.append(float(depth))
    return np.diff(apart)
