"""Nesting of the contours of a plane: holes, parts and duplicates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from ctan_monai.data.dicom.read.geometry import Floats
from ctan_monai.data.dicom.read.rasterize import Box, Mask, fill, wound_twice

_SAME = 0.2  # mm or pixels; outlines this close together on average are one
_LINE = 0.05  # mm or pixels; what reaches out of another contour by no more than this on average lies within it
_SMALL = 0.2  # but a small contour may not disappear in that
_CELLS = 64  # of the raster on which two contours are compared, along each side of the smaller one
_AREA_CELLS = 128  # of the raster on which an area is measured
_FLAT_MM = 0.02  # what is narrower than this is a line


@dataclass(frozen=True, eq=False)
class Outline:
    """One closed contour in its plane.

    Args:
        points: (N, 2) as (row, column).
        exclusive: its type is CLOSEDPLANAR_XOR.
        pixel_mm: distance of rows, distance of columns.
    """

    points: Floats
    exclusive: bool
    pixel_mm: tuple[float, float]

    @cached_property
    def low(self) -> Floats:
        """Minimum row and column."""
        return np.asarray(self.points.min(axis=0))

    @cached_property
    def high(self) -> Floats:
        """Maximum row and column."""
        return np.asarray(self.points.max(axis=0))

    @cached_property
    def length_mm(self) -> float:
        """Length of the contour."""
        edges = (np.roll(self.points, -1, axis=0) - self.points) * self.pixel_mm
        return float(np.linalg.norm(edges, axis=1).sum())

    @cached_property
    def area_mm2(self) -> float:
        """Area by the even-odd rule; 0 if all its points lie on a line."""
        points = (self.points - self.points.mean(axis=0)) * self.pixel_mm
        if np.ptp(points @ np.linalg.svd(points, full_matrices=False)[2][1]) < _FLAT_MM:
            return 0.0
        row, column = points.T
        return self.shared_mm2(self) or abs(float(row @ np.roll(column, -1) - column @ np.roll(row, -1))) / 2

    def rim_mm2(self, width: float) -> float:
        """Return the area of a band along the contour, its width in mm or pixels, whichever is less."""
        return min(width * min(1.0, *self.pixel_mm) * self.length_mm, _SMALL * self.area_mm2)

    def shared_mm2(self, other: Outline) -> float:
        """Return the area of the intersection with another contour."""
        if (self.low > other.high).any() or (other.low > self.high).any():
            return 0.0
        size = np.maximum(self.high - self.low, 1e-9)
        cells = [(each.points - self.low) / size * _CELLS - 0.5 for each in (self, other)]
        mask = fill(cells[:1], _square(_CELLS))
        if other is not self:
            mask &= fill(cells[1:], _square(_CELLS))
        return float(mask.sum()) * float(np.prod(size * self.pixel_mm)) / _CELLS**2

    @cached_property
    def runs_over_itself(self) -> bool:
        """Whether it winds around an area twice, which the even-odd rule takes for outside."""
        size = np.maximum(self.high - self.low, 1e-9)
        mask = wound_twice((self.points - self.low) / size * _CELLS - 0.5, _square(_CELLS))
        return float(mask.mean()) * float(np.prod(size * self.pixel_mm)) > self.rim_mm2(_LINE)

    def is_same(self, other: Outline, shared_mm2: float) -> bool:
        """Tell whether another contour, not smaller, runs along the same line, given the area of their intersection."""
        if self.area_mm2 < other.area_mm2 / 2 or self.area_mm2 - shared_mm2 > self.rim_mm2(_SAME):
            return False
        return other.area_mm2 - other.shared_mm2(self) <= other.rim_mm2(_SAME)


@dataclass(frozen=True, eq=False)
class Nesting:
    """The distinct contours of a plane and their nesting.

    Args:
        outlines: those that enclose an area, the largest first.
        holes: for each of them, those that lie in it and are cut out of it.
        tops: those that are cut out of none.
        literal: all are CLOSEDPLANAR_XOR, so their exclusive or is meant whatever they do.
        found: how many contours stand twice, enclose no area, cross another one, run over themselves, or have a hole
            that leaves a rim thinner than a pixel.
    """

    outlines: tuple[Outline, ...]
    holes: tuple[tuple[int, ...], ...]
    tops: tuple[int, ...]
    literal: bool
    found: dict[str, int] = field(default_factory=dict)

    def fill(self, box: Box) -> Mask:
        """Rasterize the contours within a box of the slice."""
        return self._filled([each.points for each in self.outlines], box)

    def area_mm2(self) -> float:
        """Return the area of the contours, measured on a raster of their own."""
        if not self.outlines:
            return 0.0
        low = np.min([each.low for each in self.outlines], axis=0)
        size = np.max([each.high for each in self.outlines], axis=0) - low
        cells = [(each.points - low) / size * _AREA_CELLS - 0.5 for each in self.outlines]
        share = float(self._filled(cells, _square(_AREA_CELLS)).sum()) / _AREA_CELLS**2
        return share * float(np.prod(size * self.outlines[0].pixel_mm))

    def _filled(self, polygons: Sequence[Floats], box: Box) -> Mask:
        if self.literal or len(polygons) == 1:
            return fill(polygons, box)
        regions: dict[int, Mask] = {}
        for at in reversed(range(len(polygons))):  # the smallest first, as holes are smaller than what they lie in
            regions[at] = fill([polygons[at]], box)
            for hole in self.holes[at]:
                regions[at] &= ~regions[hole]
        empty = np.zeros((max(box[1] - box[0], 0), max(box[3] - box[2], 0)), np.bool_)
        return np.asarray(np.logical_or.reduce([regions[at] for at in self.tops] or [empty]))


def nesting_of(outlines: Sequence[Outline], united: bool) -> Nesting:
    """Determine the nesting of a plane's contours.

    Contours that lie within others are holes, and within holes islands. Contours that cross each other are parts of
    one whole, unless all are of the type CLOSEDPLANAR_XOR. A contour that is there twice counts once, in whatever
    direction and from whatever point it runs.

    Args:
        outlines: the contours of one plane.
        united: a contour within another one is no hole, unless one of the two is of the type CLOSEDPLANAR_XOR.
    """
    drawn = sorted((each for each in outlines if each.area_mm2 > 0), key=lambda each: -each.area_mm2)
    kept: list[Outline] = []
    around: list[set[int]] = []  # of each, those that it lies in
    crossing: set[int] = set()
    for each in drawn:
        shared = [each.shared_mm2(other) for other in kept]
        if any(each.is_same(other, area) for other, area in zip(kept, shared, strict=True)):
            continue
        rim = each.rim_mm2(_LINE)
        inside = {at for at, area in enumerate(shared) if each.area_mm2 - area <= rim}
        met = {at for at, area in enumerate(shared) if at not in inside and area > rim}
        crossing |= met | ({len(kept)} if met else set())
        around.append(inside)
        kept.append(each)
    cut = [{at for at in inside if _cuts(kept[n], kept[at], united)} for n, inside in enumerate(around)]
    holes: list[list[int]] = [[] for _ in kept]
    for number, inside in enumerate(cut):
        for at in inside - set[int]().union(*(cut[between] for between in inside)):
            holes[at].append(number)
    found = {
        "twice": len(drawn) - len(kept),
        "flat": len(outlines) - len(drawn),
        "crossing": len(crossing),
        "over": sum(each.runs_over_itself for each in kept),
        "thin": sum(_thin(kept[at], [kept[hole] for hole in inner]) for at, inner in enumerate(holes)),
    }
    literal = bool(kept) and all(each.exclusive for each in kept)
    tops = tuple(number for number, inside in enumerate(cut) if not inside)
    return Nesting(tuple(kept), tuple(map(tuple, holes)), tops, literal, found)


def _cuts(hole: Outline, outer: Outline, united: bool) -> bool:
    return not united or hole.exclusive or outer.exclusive


def _thin(outer: Outline, holes: Sequence[Outline]) -> bool:
    """Tell whether what holes leave of a contour is thinner than a pixel on average."""
    rest = outer.area_mm2 - sum(hole.area_mm2 for hole in holes)
    return bool(holes) and rest < min(outer.pixel_mm) * outer.length_mm


def _square(cells: int) -> Box:
    return 0, cells, 0, cells
