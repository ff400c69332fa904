"""Convert contours to masks on the grid of the CT."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from ctan_monai.data.dicom.read.contours import Roi
from ctan_monai.data.dicom.read.geometry import Grid
from ctan_monai.data.dicom.read.rasterize import Mask
from ctan_monai.data.dicom.read.stack import Plane, Stack, planes_of
from ctan_monai.errors import check_choice

Holes = Literal["xor", "or"]
Between = Literal["interpolate", "nearest"]

_VOLUME_SHARE = 0.1  # a mask's volume may differ from its contours' by this share before it is said


@dataclass(frozen=True, eq=False)
class RoiMask:
    """The mask of a structure.

    Args:
        mask: (rows, columns, slices).
        notes: what was interpolated, counted once, united or cut off, and the volume where it is not the contours'.
    """

    mask: Mask
    notes: tuple[str, ...]


def mask_of(roi: Roi, grid: Grid, holes: Holes = "xor", between: Between = "interpolate") -> RoiMask:
    """Convert a structure's contours to a mask of the voxels whose centers lie inside.

    Contours of one plane are combined first, see ``nesting.nesting_of``; contours of different planes never cancel
    each other, however close the planes are. A slice takes the plane it lies in, the nearest one if several are
    that close. Where planes lie between slices, or only every second or third slice was drawn on, a slice between
    two planes gets a shape between theirs (linear in the signed distance to the outline); with 'nearest' it takes
    the nearest plane within half a slice. A gap much wider than the structure's usual one stays: the structure has
    two parts. Parts beside each other have planes of their own. At its ends a structure reaches beyond its outermost
    contours by half their distance, at most half a slice, as a contour stands for a slab.

    Args:
        roi: the structure.
        grid: rows, columns, slices; the contours are parallel to its slices.
        holes: 'xor': a contour within another one is a hole, one within the hole an island again; 'or': the union,
            but for contours of the type CLOSEDPLANAR_XOR. Contours that overlap are united either way.
        between: what a slice without contours of its own gets.

    Returns:
        The mask; empty if no voxel center is inside.

    Raises:
        DataError: a contour is not parallel to the slices, or all lie outside the grid.
        ConfigError: ``holes`` or ``between`` is unknown.
    """
    check_options(holes, between)
    mask = np.zeros(grid.shape, np.bool_)
    parts = planes_of(roi, grid)
    depths = np.array([plane.slice for part in parts for plane in part])
    stacks = [Stack(part, grid, holes == "or", depths) for part in parts]
    for stack in stacks:
        stack.fill(mask, between == "interpolate")
    planes = [plane for part in parts for plane in part]
    return RoiMask(mask, (*_combined(stacks), *_cut_off(planes, grid), *_volume(mask, stacks, grid)))


def check_options(holes: str, between: str) -> None:
    """Check the options of masks.

    Raises:
        ConfigError: ``holes`` or ``between`` is unknown.
    """
    check_choice("holes", holes, get_args(Holes))
    check_choice("between", between, get_args(Between))


def _combined(stacks: Sequence[Stack]) -> list[str]:
    """Describe how nested or duplicate contours were combined."""
    counts = {
        name: sum(nesting.found[name] for stack in stacks for nesting in stack.nestings)
        for name in ("twice", "flat", "crossing", "over", "thin")
    }
    literal = any(nesting.literal and nesting.found["crossing"] for stack in stacks for nesting in stack.nestings)
    crossing = "as CLOSEDPLANAR_XOR asks for" if literal else "they were united"
    empty = [number for stack in stacks for number in stack.used if not stack.filled[number].mask.any()]
    interpolated = set[int]().union(*(stack.interpolated for stack in stacks))
    found = {
        "slices were interpolated between contours": len(interpolated),
        "contours stand twice in their plane and were counted once": counts["twice"],
        "contours enclose no area": counts["flat"],
        f"contours overlap others of their plane without lying inside them; {crossing}": counts["crossing"],
        "contours go around something twice, which counts as outside": counts["over"],
        "contours have a hole that leaves a rim thinner than a pixel": counts["thin"],
        "planes have contours that hold no voxel's center": len(empty),
    }
    return [f"{count} {what}" for what, count in found.items() if count]


def _cut_off(planes: Sequence[Plane], grid: Grid) -> list[str]:
    notes = []
    outside = sum(not -0.5 <= plane.slice <= grid.shape[2] - 0.5 for plane in planes)
    if outside:
        notes.append(f"contours in {outside} of {len(planes)} planes lie beyond the CT's first or last slice")
    outlines = [outline for plane in planes for outline in plane.outlines]
    limit = np.array(grid.shape[:2]) - 0.5
    if any((each.low < -0.5).any() or (each.high > limit).any() for each in outlines):
        notes.append("it was cut off at the edge of the CT's slices")
    return notes


def _volume(mask: Mask, stacks: Sequence[Stack], grid: Grid) -> list[str]:
    """Compare the mask's volume with the contours'."""
    drawn_cm3 = sum(stack.volume_mm3() for stack in stacks) / 1000
    mask_cm3 = float(mask.sum()) * float(np.prod(grid.spacing_mm)) / 1000
    if abs(mask_cm3 - drawn_cm3) <= _VOLUME_SHARE * drawn_cm3:
        return []
    return [f"its mask holds {mask_cm3:.3g} cm3, its contours {drawn_cm3:.3g} cm3 (more than 10 % apart)"]
