"""Read the contours of an RTSTRUCT."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ctan_monai.data.dicom.geometry import Floats
from ctan_monai.data.dicom.reading import reading
from ctan_monai.errors import DataError

_CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")
_CONTOUR_DATA = 0x30060050
_EXPORT = "Export the structure set again."


@dataclass(frozen=True, eq=False)
class Roi:
    """A structure as it was drawn.

    Args:
        number: its number in the structure set.
        name: as the structure set calls it.
        contours: closed polygons (N, 3) in mm, LPS.
        frame_uid: frame of reference of the contours.
        left_out: how many of its items are no closed contour of three points or more, by their type.
    """

    number: int
    name: str
    contours: tuple[Floats, ...]
    frame_uid: str
    left_out: dict[str, int]


def read_rois(path: str | Path) -> list[Roi]:
    """Read every structure of a structure set.

    Args:
        path: an RTSTRUCT.

    Returns:
        The structures in the order of the file; one without contours has an empty tuple.

    Raises:
        DataError: the file cannot be read, a contour is not made of triples of finite numbers, or two structures
            share a number.
    """
    import pydicom

    path = Path(path)
    with reading(path, "the structure set"):
        dataset = pydicom.dcmread(path, force=True)
        drawn = {int(item.ReferencedROINumber): item for item in dataset.get("ROIContourSequence") or []}
        rois = [_roi(path, entry, drawn.get(int(entry.ROINumber))) for entry in dataset.StructureSetROISequence]
    numbers = [roi.number for roi in rois]
    if len(set(numbers)) != len(numbers):
        raise DataError(path, None, "two structures of the structure set have the same number.", _EXPORT)
    return rois


def _roi(path: Path, entry: Any, drawn: Any) -> Roi:
    name = str(entry.get("ROIName", "") or "").strip()
    contours: list[Floats] = []
    left_out: dict[str, int] = {}
    for item in (drawn.get("ContourSequence") if drawn is not None else None) or []:
        kind = str(item.get("ContourGeometricType", "CLOSED_PLANAR"))
        points = _points(path, name, item)
        if kind in _CLOSED and len(points) >= 3:
            contours.append(points)
        else:
            label = kind if kind not in _CLOSED else "fewer than three points"
            left_out[label] = left_out.get(label, 0) + 1
    frame_uid = str(entry.get("ReferencedFrameOfReferenceUID", ""))
    return Roi(int(entry.ROINumber), name, tuple(contours), frame_uid, left_out)


def _points(path: Path, name: str, item: Any) -> Floats:
    # The text as it stands in the file: pydicom takes ten times as long to make numbers of it.
    data = item.get_item(_CONTOUR_DATA)
    text = data.value if data is not None else None
    values = text.decode("ascii").strip("\0 ").split("\\") if isinstance(text, bytes) and text else text or []
    numbers = np.array(values, dtype=np.float64)
    if numbers.size % 3 or not np.isfinite(numbers).all():
        found = f"a contour of {name} has {numbers.size} coordinates, expected finite numbers, three a point."
        raise DataError(path, None, found, _EXPORT)
    return numbers.reshape(-1, 3)
