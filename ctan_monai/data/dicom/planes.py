"""Which contours belong to which slice of a grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ctan_monai.data.dicom.contours import Roi
from ctan_monai.data.dicom.geometry import Floats, Grid
from ctan_monai.errors import DataError

_SAME_PLANE = 0.15  # slices; contours this close together lie in one plane
_FLAT_MM = 0.5  # a contour's points may lie this far from its plane (tilted scans written with few digits)
_FLAT_SLICES = 0.25  # and at most this share of the distance of slices


@dataclass(frozen=True, eq=False)
class Plane:
    """The contours of one structure that lie in one plane.

    Args:
        slice: where it lies on the axis of the slices, as a fraction of them.
        polygons: (N, 2) points as (row, column).
    """

    slice: float
    polygons: tuple[Floats, ...]


def planes_of(roi: Roi, grid: Grid) -> list[Plane]:
    """Sort a structure's contours into planes parallel to a grid's slices.

    Returns:
        The planes by rising slice.

    Raises:
        DataError: a contour is not parallel to the slices, or no contour lies within the grid.
    """
    flat_slices = min(_FLAT_MM / grid.spacing_mm[2], _FLAT_SLICES)
    found: list[tuple[float, Floats]] = []
    for contour in roi.contours:
        index = grid.to_index(contour)
        depth = float(np.median(index[:, 2]))
        away = float(np.abs(index[:, 2] - depth).max())
        if away > flat_slices:
            found_mm = away * grid.spacing_mm[2]
            reason = (
                f"a contour of {roi.name} is not parallel to the CT's slices (it leaves them by {found_mm:.1f} mm)."
            )
            raise DataError("structure set", None, reason, "Leave this structure out, or draw it on the CT's slices.")
        found.append((depth, index[:, :2]))
    inside = any(-0.5 <= depth <= grid.shape[2] - 0.5 for depth, _ in found)
    if found and not inside:
        reason = f"no contour of {roi.name} lies within the CT."
        raise DataError("structure set", None, reason, "Give the CT on which it was drawn.")
    return _grouped(sorted(found, key=lambda each: each[0]))


def _grouped(contours: list[tuple[float, Floats]]) -> list[Plane]:
    planes: list[Plane] = []
    for depth, polygon in contours:
        if planes and depth - planes[-1].slice <= _SAME_PLANE:
            planes[-1] = Plane(planes[-1].slice, (*planes[-1].polygons, polygon))
        else:
            planes.append(Plane(depth, (polygon,)))
    return planes
