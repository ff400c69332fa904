"""Recognize DICOM files by their first bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

Look = Literal["whole", "bare", ""]

_PREAMBLE = 128
_FRONT = _PREAMBLE + 4
_GROUPS = (2, 8)  # meta header; the first group of every data set
_VRS = frozenset(
    b"AE AS AT CS DA DS DT FD FL IS LO LT OB OD OF OL OV OW PN SH SL SQ SS ST SV TM UC UI UL UN UR US UT UV".split()
)
_NAMES = (".dcm", ".dicom", ".dic", ".ima")
_ARCHIVES = (".zip", ".7z", ".rar", ".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz", ".dcm.gz")
_APPLE_DOUBLE = b"\x00\x05\x16\x07"  # what macOS puts beside a file, under its name with ._ before it


def look_at(path: Path) -> Look:
    """Tell whether a file begins like DICOM.

    Args:
        path: any file.

    Returns:
        'whole' with a preamble and DICM, 'bare' if it begins with a meta header (group 2) or a data set (group 8) at
        once, '' if it is none.

    Raises:
        OSError: it cannot be read.
        ValueError: it is none although its name says so, or holds files that are packed; the message says what it is.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        front = file.read(_FRONT)
    if front[_PREAMBLE:] == b"DICM":
        return "whole"
    if _begins_with_element(front, size):
        return "bare"
    name = path.name.lower()
    if name.endswith(_ARCHIVES):
        raise ValueError("it is an archive, which is not looked into; unpack it if it holds DICOM")
    if name.endswith(_NAMES) and not front.startswith(_APPLE_DOUBLE):
        found = (
            f"holds {'nothing but zeros' if front else 'nothing'}" if is_blank(path) else "does not begin like DICOM"
        )
        raise ValueError(f"its name is one of DICOM, but it {found}")
    return ""


def is_blank(path: Path) -> bool:
    """Tell whether a file is empty or begins with zeros only, as a failed copy leaves it."""
    with path.open("rb") as file:
        return not any(file.read(_FRONT))


def _begins_with_element(front: bytes, size: int) -> bool:
    """Tell whether bytes are an attribute with a known tag whose value fits into the file."""
    from pydicom.datadict import dictionary_has_tag

    for order in ("little", "big"):
        group, element = (int.from_bytes(front[at : at + 2], order) for at in (0, 2))
        length = int.from_bytes(front[4:8], order)  # as implicit VR has it
        known = len(front) >= 8 and (element == 0 or dictionary_has_tag(group << 16 | element))
        fits = length == 4 if element == 0 else 0 < length <= size - 8
        if group in _GROUPS and known and (front[4:6] in _VRS or (order == "little" and fits)):
            return True
    return False
