"""Which contours belong to which slice of a grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ctan_monai.data.dicom.read.contours import Roi
from ctan_monai.data.dicom.read.geometry import Grid
from ctan_monai.data.dicom.read.nesting import Outline
from ctan_monai.errors import DataError

_SAME_MM, _SAME_SLICES = 0.1, 0.05  # contours this close together may lie in one plane that was rounded
_EXACT_MM = 1e-3  # those of dense planes lie in one plane if they are this close
_FLAT_MM = 0.5  # a contour's points may lie this far from its plane (tilted scans written with few digits)
_FLAT_SLICES = 0.25  # and at most this fraction of the distance of slices

Placed = tuple[float, Outline]


@dataclass(frozen=True, eq=False)
class Plane:
    """The contours of one structure that lie in one plane.

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
    """Part contours whose rectangles, seen along the slices, do not touch: each part has planes of its own."""
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
    """Put contours of one depth into one plane; rounding apart, unless there is a next plane just as close."""
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
