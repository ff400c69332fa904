"""Refuse a file whose pixels are fewer or more than its size says: it was cut, or bytes were put into it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ctan_monai.data.dicom.read.reading import PIXEL_DATA, number_of
from ctan_monai.errors import DataError

_UNDEFINED_LENGTH = 0xFFFFFFFF
_DEFLATED = "1.2.840.10008.1.2.1.99"
_NOT_COMPRESSED = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2")
_MAY_FOLLOW = (0x7FE1, 0xFFFA, 0xFFFC)  # groups: private, digital signatures, padding


def check_whole(path: Path, dataset: Any) -> None:
    """Check that uncompressed pixels are as many as rows, columns and frames say, and end the file.

    pydicom takes what it needs and passes over the rest. Zeros that pad are accepted, and so is what the standard and
    scanners put behind pixels.

    Args:
        path: the file.
        dataset: as pydicom read it, its pixels not decoded yet.

    Raises:
        DataError: there are too few or too many pixels, something else follows them, or they are compressed and the
            file does not say how.
    """
    from pydicom.uid import UID

    if PIXEL_DATA not in dataset:
        raise DataError(path, None, "it has no PixelData; it may be cut short.", "Export it again.")
    raw = dataset.get_item(PIXEL_DATA)
    syntax = UID(str(dataset.file_meta.TransferSyntaxUID))
    if getattr(raw, "length", 0) == _UNDEFINED_LENGTH and syntax in _NOT_COMPRESSED:
        reason = f"its PixelData are compressed, and its TransferSyntaxUID does not say how ({syntax.name})."
        raise DataError(path, None, reason, "Export it again, uncompressed or with its transfer syntax.")
    if not hasattr(raw, "value_tell") or raw.length == _UNDEFINED_LENGTH or syntax == _DEFLATED:
        return
    size = {name: int(number_of(path, dataset, name)) for name in ("Rows", "Columns", "BitsAllocated")}
    expected = size["Rows"] * size["Columns"] * int(dataset.get("NumberOfFrames") or 1)
    expected *= int(dataset.get("SamplesPerPixel") or 1) * size["BitsAllocated"] // 8
    stored = raw.value or b""
    if len(stored) < expected or any(stored[expected:]):
        what = "it is cut short: it" if len(stored) < min(expected, raw.length) else "it"
        reason = (
            f"{what} has {len(stored)} bytes of PixelData, expected {expected} from Rows, Columns and BitsAllocated."
        )
        raise DataError(path, None, reason, "Export it again.")
    if any(tag > PIXEL_DATA and tag.group in _MAY_FOLLOW for tag in list(dataset.keys())):
        return
    with path.open("rb") as file:
        file.seek(raw.value_tell + raw.length)
        if any(file.read()):
            raise DataError(path, None, "something that is no DICOM follows its pixels.", "Export it again.")
