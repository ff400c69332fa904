"""Read the contours of an RTSTRUCT."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ctan_monai.data.dicom.read.geometry import Floats
from ctan_monai.data.dicom.read.reading import read_dicom, reading
from ctan_monai.errors import DataError

_EXCLUSIVE = "CLOSEDPLANAR_XOR"
_CLOSED = ("CLOSED_PLANAR", _EXCLUSIVE, "INTERPOLATED_PLANAR")
_REPEATED_MM = 1e-3
_CONTOUR_DATA = 0x30060050
_EXPORT = "Export the structure set again."


@dataclass(frozen=True, eq=False)
class Roi:
    """A structure and its contours.

    Args:
        number: its number in the structure set.
        name: as the structure set calls it.
        contours: closed polygons (N, 3) in mm, LPS.
        frame_uid: frame of reference of the contours.
        left_out: how many of its items are no closed contour of three points or more, by their type.
        exclusive: which of the contours, by position, are of the type CLOSEDPLANAR_XOR.
        images: UIDs of the images that its contours name.
    """

    number: int
    name: str
    contours: tuple[Floats, ...]
    frame_uid: str
    left_out: dict[str, int]
    exclusive: frozenset[int] = frozenset()
    images: frozenset[str] = frozenset()


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
    path = Path(path)
    with reading(path, "the structure set"):
        dataset = read_dicom(path)
        drawn: dict[int, list[Any]] = {}
        for item in dataset.get("ROIContourSequence") or []:  # several items may belong to one structure
            drawn.setdefault(int(item.ReferencedROINumber), []).extend(item.get("ContourSequence") or [])
        rois = [_roi(path, entry, drawn.pop(int(entry.ROINumber), [])) for entry in dataset.StructureSetROISequence]
        rois += [_roi(path, {}, items, number) for number, items in drawn.items()]
    numbers = [roi.number for roi in rois]
    if len(set(numbers)) != len(numbers):
        raise DataError(path, None, "two structures of the structure set have the same number.", _EXPORT)
    return rois


def _roi(path: Path, entry: Any, items: Sequence[Any], number: int | None = None) -> Roi:
    """Create a structure from its items; one that only has contours has no more than a number."""
    found = int(entry.ROINumber) if number is None else number
    name = str(entry.get("ROIName", "") or "").strip() or f"ROI {found}"
    contours: list[Floats] = []
    exclusive: set[int] = set()
    left_out: dict[str, int] = {}
    images: set[str] = set()
    for item in items:
        kind = str(item.get("ContourGeometricType", "") or "").strip().upper() or _CLOSED[0]
        points = _once_around(_points(path, name, item))
        images.update(str(each.get("ReferencedSOPInstanceUID", "")) for each in item.get("ContourImageSequence") or [])
        if kind in _CLOSED and len(points) >= 3:
            exclusive |= {len(contours)} if kind == _EXCLUSIVE else set()
            contours.append(points)
        else:
            label = kind if kind not in _CLOSED else "fewer than three points"
            left_out[label] = left_out.get(label, 0) + 1
    frame_uid = str(entry.get("ReferencedFrameOfReferenceUID", "") or "")
    named = frozenset(images - {""})
    return Roi(found, name, tuple(contours), frame_uid, left_out, frozenset(exclusive), named)


def _once_around(points: Floats) -> Floats:
    """Cut a contour where it returns to its first point, if it then runs the same way again."""
    back = np.flatnonzero(np.abs(points - points[:1]).max(axis=1) <= _REPEATED_MM).tolist()
    for length in back[1:]:
        again = points[np.arange(len(points) - length) % length]
        if length >= 3 and np.abs(points[length:] - again).max() <= _REPEATED_MM:
            return points[:length]
    return points


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
