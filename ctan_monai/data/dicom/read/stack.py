"""One part of a structure: planes with contours above each other, and what a slice gets of them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from ctan_monai.data.dicom.read.between import FilledPlane, between
from ctan_monai.data.dicom.read.geometry import Floats, Grid
from ctan_monai.data.dicom.read.nesting import nesting_of
from ctan_monai.data.dicom.read.planes import Plane
from ctan_monai.data.dicom.read.rasterize import Mask, bounding_box

_TIE = 1e-6
_ON_SLICE = 0.15  # slices; a contour this close to a slice is taken as drawn on it
_GAP_SLACK = 1.5  # a gap wider than this times the structure's usual one parts it in two
_USUAL_GAP_MAX = 3.0  # slices; who draws more seldom than on every third slice means separate parts


class Stack:
    """The planes of one part of a structure, filled where a slice needs them.

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
        """Return the volume that the contours stand for: their areas, each times the slab that it is the middle of."""
        areas = [each.nesting.area_mm2() for each in self.filled]
        below = above = np.zeros(0)
        if len(areas):
            gaps = np.diff(self.depths)
            halves = np.where(gaps <= _GAP_SLACK * self._usual_gap, gaps / 2, self._reach)
            below, above = np.append(self._reach, halves), np.append(halves, self._reach)
        return float(np.dot(areas, below + above)) * self._spacing_mm[2]

    def _slice(self, number: int, interpolate: bool) -> Mask | None:
        """Return what a slice gets; None if this part does not reach it."""
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
        """Distance of neighboring planes, at least that of slices; two planes alone do not tell."""
        gaps = next((each for each in (_gaps(self.depths), _gaps(self._all)) if len(each) > 1), np.ones(1))
        usual = float(np.median(gaps))
        return max(1.0, usual) if usual <= _USUAL_GAP_MAX + _ON_SLICE else 1.0

    @cached_property
    def _reach(self) -> float:
        """How far beyond its outermost contours it goes, in slices."""
        gaps = next((each for each in (_gaps(self.depths), _gaps(self._all)) if len(each)), np.ones(1))
        return min(0.5, float(np.median(gaps)) / 2)


def _gaps(depths: Floats) -> Floats:
    """Return the distances of neighboring planes; planes so close that they mean the same slice are one."""
    apart: list[float] = []
    for depth in np.sort(depths):
        if not apart or depth - apart[-1] > _ON_SLICE:
            apart.append(float(depth))
    return np.diff(apart)
