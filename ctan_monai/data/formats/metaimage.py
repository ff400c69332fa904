"""Read MetaImage files: .mha, in which STOIC is published, and .mhd with its voxels in a separate file."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ctan_monai.errors import DataError

MHA_SUFFIX, MHD_SUFFIX = ".mha", ".mhd"
_AGAIN = "Copy or download this file again."
_HEADER_LINES_MAX, _LINE_BYTES_MAX = 200, 65536
_READ_BYTES, _INFLATE_BYTES = 2**20, 2**24
_TO_RAS = np.array([-1.0, -1.0, 1.0])  # MetaImage's x and y run to the left and to the back
_TYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}
_TURN = ("TransformMatrix", "Rotation", "Orientation")  # names of one thing, from newer and older writers
_FIRST = ("Offset", "Position", "Origin")
_SPACING = ("ElementSpacing", "ElementSize")
_MSB = ("BinaryDataByteOrderMSB", "ElementByteOrderMSB")

Array = npt.NDArray[Any]


def read_mha(path: Path, case: str, voxels_max: int) -> tuple[Array, npt.NDArray[np.float64], dict[str, str]]:
    """Read a volume.

    Not by SimpleITK: of a damaged compressed stream it returns whatever could be inflated and says nothing, what
    follows the voxels it passes over, and 1 of 600 damaged files ended the process by a signal (measured with 2.5; ADR
    18). Here, the stream's own checksum counts, the length must fit, and no compressed copy is held.

    Args:
        path: the file.
        case: id, for the message.
        voxels_max: refuse more, before memory is asked for.

    Returns:
        Values (x, y, z), the affine (4, 4) in RAS mm, and the header's entries, such as PatientAge.

    Raises:
        DataError: the file is missing, damaged, cut short, or holds no volume of numbers.
    """
    try:
        fields, start = _read_fields(path)
        size = _numbers(fields, ("DimSize",))
        if len(size) != 3 or fields.get("ElementNumberOfChannels", "1") != "1" or not _is_size(size, voxels_max):
            found = f"its shape is {tuple(size)} with {fields.get('ElementNumberOfChannels', '1')} values per voxel, "
            reason = f"{found}expected three axes, one value, and at most {voxels_max} voxels."
            raise DataError(path, case, reason, "Give one volume.")
        if path.suffix.lower() == MHD_SUFFIX:
            path, start, fields = voxels_of(path, fields), 0, {**fields, "ElementDataFile": "LOCAL"}
        values = _read_voxels(path, start, fields, int(np.prod(size)))
        affine_ras = _affine_ras(fields)
    except DataError:
        raise
    except (OSError, ValueError, KeyError, OverflowError, MemoryError, zlib.error) as error:
        found = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise DataError(path, case, f"it cannot be read as a MetaImage volume ({found}).", _AGAIN) from error
    return values.reshape([int(side) for side in size[::-1]]).T, affine_ras, fields


def voxels_of(path: Path, fields: Mapping[str, str] | None = None) -> Path:
    """Return the data file of an .mhd.

    Raises:
        ValueError: it names several, or one in another folder.
    """
    name = (_read_fields(path)[0] if fields is None else fields)["ElementDataFile"]
    if name.upper() in ("LOCAL", "LIST") or "%" in name or Path(name.replace("\\", "/")).name != name:
        raise ValueError(f"its voxels are in {name!r}, expected one file in the same folder")
    return path.with_name(name)


def _read_fields(path: Path) -> tuple[dict[str, str], int]:
    """Read the header's lines, and the offset of the voxels."""
    fields: dict[str, str] = {}
    with path.open("rb") as file:
        for _ in range(_HEADER_LINES_MAX):
            name, equals, value = file.readline(_LINE_BYTES_MAX).decode("latin-1").partition("=")
            if not equals:
                break
            fields[name.strip()] = value.strip()
            if name.strip() == "ElementDataFile":
                return fields, file.tell()
    raise ValueError("it has no header of a MetaImage")


def _numbers(fields: Mapping[str, str], names: tuple[str, ...]) -> list[float]:
    """Return the numbers of an entry by one of several names; there is no default."""
    text = next((fields[name] for name in names if name in fields), None)
    if text is None:
        raise KeyError(names[0])
    return [float(word) for word in text.split()]


def _is_size(size: list[float], voxels_max: int) -> bool:
    return all(side >= 1 and side.is_integer() for side in size) and math.prod(size) <= voxels_max


def _is_true(fields: Mapping[str, str], *names: str) -> bool:
    found = [fields[name].lower() for name in names if name in fields]
    if not set(found) <= {"true", "false"}:
        raise ValueError(f"{names[0]} is {found[0]}, expected True or False")
    return "true" in found


def _read_voxels(path: Path, start: int, fields: Mapping[str, str], count: int) -> Array:
    """Read the voxels that follow the header; (count,).

    Raises:
        ValueError: they are stored in a way that is not read here, or are fewer or more than the header says.
        zlib.error: their stream is damaged.
    """
    kind = _TYPES.get(fields["ElementType"].upper())
    here = fields["ElementDataFile"].upper() == "LOCAL" and fields.get("HeaderSize", "0") == "0"
    if kind is None or not here or not _is_true(fields, "BinaryData"):
        how = {name: fields.get(name) for name in ("ElementType", "ElementDataFile", "BinaryData", "HeaderSize")}
        raise ValueError(f"voxels that are stored as {how} are not read here; save it again with SimpleITK")
    values = np.empty(count, np.dtype((">" if _is_true(fields, *_MSB) else "<") + kind))
    if _is_true(fields, "CompressedData"):
        _inflate(path, start, values)
    else:
        found = path.stat().st_size - start
        if found != values.nbytes:
            raise ValueError(f"it has {found} bytes of voxels, its header says {values.nbytes}")
        with path.open("rb") as file:
            file.seek(start)
            if file.readinto(values.view(np.uint8).data) != values.nbytes:
                raise ValueError("it became shorter while it was read")
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def _inflate(path: Path, start: int, values: Array) -> None:
    """Decompress a zlib stream directly to an array.

    Raises:
        ValueError: it holds fewer or more bytes than the array.
        zlib.error: it is damaged.
    """
    target, done = values.view(np.uint8).data, 0
    inflater = zlib.decompressobj()
    with path.open("rb") as file:
        file.seek(start)
        while not inflater.eof:
            packed = inflater.unconsumed_tail or file.read(_READ_BYTES)
            if not packed:
                raise ValueError(f"it ends after {done} of {len(target)} bytes of voxels")
            part = inflater.decompress(packed, _INFLATE_BYTES)
            if done + len(part) > len(target):
                raise ValueError(f"it holds more than the {len(target)} bytes of voxels that its header says")
            target[done : done + len(part)] = part
            done += len(part)
        if any(inflater.unused_data) or any(file.read()):
            raise ValueError("something follows its voxels, more than its header says")
    if done != len(target):
        raise ValueError(f"it holds {done} of {len(target)} bytes of voxels")


def _affine_ras(fields: Mapping[str, str]) -> npt.NDArray[np.float64]:
    turn = np.array(_numbers(fields, _TURN)).reshape(3, 3)  # a row for each axis
    if (unit := fields.get("DistanceUnits", "mm")) not in ("mm", "?"):
        raise ValueError(f"its unit of length is {unit}, expected mm")
    spacing_mm = np.array(_numbers(fields, _SPACING))
    first_lps = np.array(_numbers(fields, _FIRST))
    if spacing_mm.shape != (3,) or first_lps.shape != (3,):
        raise ValueError(f"its spacing is {spacing_mm.tolist()}, its origin {first_lps.tolist()}")
    if not all(np.isfinite(part).all() for part in (turn, spacing_mm, first_lps)) or spacing_mm.min() <= 0:
        raise ValueError(f"its spacing is {spacing_mm.tolist()}, its origin {first_lps.tolist()}, its axes {turn}")
    if np.abs(turn @ turn.T - np.eye(3)).max() > 1e-3:
        raise ValueError(f"its axes {turn.tolist()} are not perpendicular unit vectors")
    affine_ras = np.eye(4)
    affine_ras[:3, :3] = _TO_RAS[:, None] * turn.T * spacing_mm
    affine_ras[:3, 3] = _TO_RAS * first_lps
    return affine_ras
