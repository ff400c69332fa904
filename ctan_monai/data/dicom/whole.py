"""Refuse a file whose pixels go on where the image ends: bytes were put into it, or its size is damaged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ctan_monai.errors import DataError

_PIXEL_DATA = 0x7FE00010
_UNDEFINED_LENGTH = 0xFFFFFFFF
_DEFLATED = "1.2.840.10008.1.2.1.99"
_MAY_FOLLOW = (0x7FE1, 0xFFFA, 0xFFFC)  # groups: private, digital signatures, padding


def check_whole(path: Path, dataset: Any) -> None:
    """Check that uncompressed pixels are as many as rows, columns and frames say, and end the file.

    pydicom takes what it needs and passes over the rest. Zeros that pad are accepted, and so is what the standard and
    scanners put behind pixels.

    Args:
        path: the file.
        dataset: as pydicom read it, its pixels not decoded yet.

    Raises:
        DataError: there are too many pixels, or something else follows them.
    """
    raw = dataset.get_item(_PIXEL_DATA)
    syntax = str(dataset.file_meta.get("TransferSyntaxUID", "")) if hasattr(dataset, "file_meta") else ""
    if not hasattr(raw, "value_tell") or raw.length == _UNDEFINED_LENGTH or syntax == _DEFLATED:
        return
    expected = int(dataset.Rows) * int(dataset.Columns) * int(dataset.get("NumberOfFrames") or 1)
    expected *= int(dataset.get("SamplesPerPixel") or 1) * int(dataset.BitsAllocated) // 8
    if any((raw.value or b"")[expected:]):
        reason = f"it has {len(raw.value)} bytes of pixels, expected {expected}."
        raise DataError(path, None, reason, "Export it again.")
    if any(tag > _PIXEL_DATA and tag.group in _MAY_FOLLOW for tag in list(dataset.keys())):
        return
    with path.open("rb") as file:
        file.seek(raw.value_tell + raw.length)
        if any(file.read()):
            raise DataError(path, None, "something that is no DICOM follows its pixels.", "Export it again.")
