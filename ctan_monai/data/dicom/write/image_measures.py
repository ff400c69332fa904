"""Area and longest diameter of a mask on a 2D image in mm, and the side of the body that the image shows."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.spatial import ConvexHull
from scipy.spatial.distance import pdist

_TWO_DIMENSIONAL, _TISSUE, _CM = 1, 1, 3  # RegionSpatialFormat, RegionDataType, PhysicalUnits; PS3.3 C.8.5.5.1
_MM_OF_CM = 10.0
_SIDES = ("L", "R")


class Size(NamedTuple):
    """Size of a mask.

    Args:
        area_mm2: of all of its pixels.
        diameter_mm: longest distance between two points of its largest connected part, from edge to edge.
    """

    area_mm2: float
    diameter_mm: float


def size_of(mask: npt.NDArray[np.bool_], header: Any) -> Size | None:
    """Measure a mask (rows, columns); None of an empty one, and where the image does not say how large its pixels are.

    In ultrasound that is what the B-mode regions say that the mask lies in, if they are in cm and agree; without
    regions, PixelSpacing.

    Args:
        mask: on the pixels of the whole image.
        header: dataset of the image.
    """
    spacing = _spacing_mm(mask, header) if mask.any() else None
    if spacing is None:
        return None
    parts, count = ndimage.label(mask, np.ones((3, 3)))
    largest = parts == 1 + int(np.argmax(ndimage.sum_labels(mask, parts, range(1, count + 1))))
    return Size(float(mask.sum() * spacing[0] * spacing[1]), _diameter_mm(largest, spacing))


def side_of(header: Any) -> str | None:
    """Return L or R where the image's header says which side of the body it shows."""
    for name in ("ImageLaterality", "Laterality"):
        if (side := str(header.get(name) or "").strip().upper()) in _SIDES:
            return side
    return None


def _spacing_mm(mask: npt.NDArray[np.bool_], header: Any) -> tuple[float, float] | None:
    """Return the distances of rows and of columns."""
    regions = header.get("SequenceOfUltrasoundRegions")
    if not regions:
        spacing = header.get("PixelSpacing")
        return _usable((float(spacing[0]), float(spacing[1]))) if spacing else None
    left = mask.copy()
    found: set[tuple[float, float] | None] = set()
    for region in regions:
        if (region.get("RegionSpatialFormat"), region.get("RegionDataType")) != (_TWO_DIMENSIONAL, _TISSUE):
            continue
        rows = slice(int(region.RegionLocationMinY0), int(region.RegionLocationMaxY1) + 1)
        columns = slice(int(region.RegionLocationMinX0), int(region.RegionLocationMaxX1) + 1)
        if left[rows, columns].any():
            left[rows, columns] = False
            found.add(_calibration_mm(region))
    return None if left.any() or len(found) != 1 else found.pop()


def _calibration_mm(region: Any) -> tuple[float, float] | None:
    """Return the distances of rows and of columns that a region states, None unless both are in cm."""
    if (region.get("PhysicalUnitsXDirection"), region.get("PhysicalUnitsYDirection")) != (_CM, _CM):
        return None
    down, across = region.get("PhysicalDeltaY"), region.get("PhysicalDeltaX")
    if down is None or across is None:
        return None
    return _usable((abs(float(down)) * _MM_OF_CM, abs(float(across)) * _MM_OF_CM))  # negative: the axis points back


def _usable(spacing: tuple[float, float]) -> tuple[float, float] | None:
    """Return the distances if both are positive and finite."""
    return spacing if all(0 < each < np.inf for each in spacing) else None


def _diameter_mm(mask: npt.NDArray[np.bool_], spacing: tuple[float, float]) -> float:
    """Return the longest distance between the corners of the first and the last pixels of the rows."""
    rows = np.flatnonzero(mask.any(1))
    edges = (mask[rows].argmax(1), mask.shape[1] - mask[rows, ::-1].argmax(1))  # left and right, (R,) each
    corners = np.concatenate([np.stack([rows + below, edge], axis=1) for below in (0, 1) for edge in edges])
    points = corners * np.array(spacing)
    return float(pdist(points[ConvexHull(points).vertices]).max())
