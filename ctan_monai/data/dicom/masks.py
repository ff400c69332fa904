"""Make masks of contours, on the grid of the CT."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from ctan_monai.data.dicom.between import FilledPlane
from ctan_monai.data.dicom.between import between as shape_between
from ctan_monai.data.dicom.contours import Roi
from ctan_monai.data.dicom.geometry import Floats, Grid
from ctan_monai.data.dicom.planes import Plane, planes_of
from ctan_monai.data.dicom.rasterise import Mask, bounding_box
from ctan_monai.errors import ConfigError

Holes = Literal["xor", "or"]
Between = Literal["interpolate", "nearest"]

_TIE = 1e-6
_ON_SLICE = 0.15  # slices; a contour this close to a slice is taken as drawn on it
_GAP_SLACK = 1.5  # a gap wider than this times the structure's usual one parts it in two
_USUAL_GAP_MAX = 3.0  # slices; who draws more seldom than on every third slice means separate parts


@dataclass(frozen=True, eq=False)
class RoiMask:
    """A structure on a grid.

    Args:
        mask: (rows, columns, slices).
        notes: what was interpolated or cut off.
    """

    mask: Mask
    notes: tuple[str, ...]


def mask_of(roi: Roi, grid: Grid, holes: Holes = "xor", between: Between = "interpolate") -> RoiMask:
    """Mark the voxels whose centres lie inside a structure.

    A slice takes the contours of the plane it lies in. Where planes lie between slices, or only every second or
    third slice was drawn on, a slice between two planes gets a shape between theirs (linear in the signed distance
    to the outline); with 'nearest' it takes the nearest plane within half a slice. A gap much wider than the
    structure's usual one stays: the structure has two parts. At its ends a structure reaches beyond its outermost
    contours by half their distance, at most half a slice, as a contour stands for a slab.

    Args:
        roi: the structure.
        grid: rows, columns, slices; the contours are parallel to its slices.
        holes: 'xor': a contour within another one is a hole, one within the hole an island again; 'or': the union.
        between: what a slice without contours of its own gets.

    Returns:
        The mask; empty if no voxel centre is inside.

    Raises:
        DataError: a contour is not parallel to the slices, or all lie outside the grid.
        ConfigError: ``holes`` or ``between`` is unknown.
    """
    check_options(holes, between)
    mask = np.zeros(grid.shape, np.bool_)
    planes = planes_of(roi, grid)
    if not planes:
        return RoiMask(mask, ())
    box = bounding_box([polygon for plane in planes for polygon in plane.polygons], grid.shape[:2])
    filled = [FilledPlane(plane, box, holes == "or", grid.spacing_mm[:2]) for plane in planes]
    depths = np.array([plane.slice for plane in planes])
    interpolated, first = 0, max(0, round(depths[0]) - 1)
    for number in range(first, min(grid.shape[2], round(depths[-1]) + 2)):
        found, blended = _slice(number, depths, filled, between == "interpolate")
        interpolated += blended
        if found is not None:
            mask[box[0] : box[1], box[2] : box[3], number] = found
    return RoiMask(mask, tuple(_notes(planes, grid, interpolated)))


def check_options(holes: str, between: str) -> None:
    """Refuse unknown settings.

    Raises:
        ConfigError: ``holes`` or ``between`` is unknown.
    """
    for name, value, allowed in (("holes", holes, get_args(Holes)), ("between", between, get_args(Between))):
        if value not in allowed:
            raise ConfigError(name, f"{value!r} is unknown.", f"Use one of {allowed}.")


def _slice(number: int, depths: Floats, filled: Sequence[FilledPlane], interpolate: bool) -> tuple[Mask | None, bool]:
    """Return a slice's mask and whether it was interpolated; None if the structure does not reach it."""
    at = number + _TIE  # exactly between two slices, a plane belongs to the lower one
    nearest = int(np.abs(depths - at).argmin())
    away = float(abs(depths[nearest] - at))
    above = int(np.searchsorted(depths, at))
    if away > _ON_SLICE and interpolate and 0 < above < len(depths):
        gap = float(depths[above] - depths[above - 1])
        if gap <= _GAP_SLACK * _usual_gap(depths):
            share = (at - float(depths[above - 1])) / gap
            return shape_between(filled[above - 1], filled[above], share), True
    reach = min(0.5, float(np.median(np.diff(depths))) / 2) if len(depths) > 1 else 0.5
    return (filled[nearest].mask, False) if away < reach else (None, False)


def _usual_gap(depths: Floats) -> float:
    """Return the distance of neighbouring planes, at least that of slices; two planes alone do not tell."""
    usual = float(np.median(np.diff(depths))) if len(depths) > 2 else 1.0
    return max(1.0, usual) if usual <= _USUAL_GAP_MAX + _ON_SLICE else 1.0


def _notes(planes: Sequence[Plane], grid: Grid, interpolated: int) -> list[str]:
    notes = [f"{interpolated} slices were interpolated between contours"] if interpolated else []
    outside = sum(not -0.5 <= plane.slice <= grid.shape[2] - 0.5 for plane in planes)
    if outside:
        notes.append(f"contours in {outside} of {len(planes)} planes lie beyond the CT's first or last slice")
    points = np.concatenate([polygon for plane in planes for polygon in plane.polygons])
    if (points < -0.5).any() or (points > np.array(grid.shape[:2]) - 0.5).any():
        notes.append("it was cut off at the edge of the CT's slices")
    return notes
