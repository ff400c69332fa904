"""Read further formats by MONAI's ITKReader, after checks of what ITK ignores (ADR 18)."""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ctan_monai.errors import DataError

NRRD_SUFFIX = ".nrrd"  # .seg.nrrd ends in it too
_HEADER_BYTES = 2**20
_CHUNK = 2**22
_BYTES = {"64": 8, "long": 8, "double": 8, "32": 4, "float": 4, "16": 2, "short": 2, "8": 1, "char": 1, "int": 4}
_SPACES = ("left-posterior-superior", "lps", "right-anterior-superior", "ras", "left-anterior-superior", "las")
_UNIT = re.compile('"([^"]*)"')
_AGAIN = "Save it again as one .nrrd or .nii.gz file."


def read_by_itk(source: Path | Sequence[Path], case: str) -> tuple[npt.NDArray[Any], npt.NDArray[np.float64]]:
    """Read a volume by MONAI's ITKReader.

    Args:
        source: a file that was checked, or the files of a series in their order.
        case: id, for the message.

    Returns:
        Values (x, y, z) and the affine (4, 4) in RAS mm.

    Raises:
        DataError: it cannot be read, or is no volume of numbers.
    """
    import itk
    from monai.data import ITKReader

    path = source if isinstance(source, Path) else source[0].parent
    try:
        image = itk.imread(str(source) if isinstance(source, Path) else [str(file) for file in source])
        values, meta = ITKReader().get_data(image)
    except Exception as error:  # ITK's errors have no common base in Python
        said = str(error).strip().splitlines()[-1:] or [type(error).__name__]
        raise DataError(path, case, f"it cannot be read by ITK ({said[0][:200]}).", _AGAIN) from error
    affine_ras = np.asarray(meta["affine"], np.float64)
    if values.ndim != 3 or not np.isfinite(affine_ras).all() or abs(np.linalg.det(affine_ras[:3, :3])) < 1e-9:
        raise DataError(
            path, case, f"its shape is {values.shape}, its affine {affine_ras.tolist()}.", "Give one volume."
        )
    return np.ascontiguousarray(values), affine_ras


def read_nrrd_volume(path: Path, case: str, voxels_max: int) -> tuple[npt.NDArray[Any], npt.NDArray[np.float64]]:
    """Read a volume from NRRD, checking its size and its space.

    Args:
        path: the file.
        case: id, for the message.
        voxels_max: refuse more, before memory is asked for.

    Returns:
        Values (x, y, z) and the affine (4, 4) in RAS mm.

    Raises:
        DataError: the file is missing, damaged, cut short, does not say how the patient lies, or holds no volume.
    """
    header, first = read_nrrd_header(path)
    fields = {name.lower(): value for name, value in header.items()}
    expected, sizes = unpacked_bytes(path), [int(size) for size in fields["sizes"].split()]
    if len(sizes) != 3 or not 0 < np.prod(sizes, dtype=object) <= voxels_max:
        raise DataError(path, case, f"its sizes are {sizes}, expected three axes, at most {voxels_max} voxels.", _AGAIN)
    if fields.get("space", "").lower() not in _SPACES or "space directions" not in fields:
        raise DataError(path, case, "it does not say how the patient lies (space, space directions).", _AGAIN)
    if {"byte skip", "line skip", "byteskip", "lineskip"} & fields.keys():
        raise DataError(path, case, "something lies between its header and its voxels.", _AGAIN)
    found = _body_bytes(path, case, first, fields.get("encoding", "").lower(), expected)
    if found != expected:
        raise DataError(path, case, f"it has {found} bytes of voxels, its header says {expected}.", _AGAIN)
    return read_by_itk(path, case)


def _body_bytes(path: Path, case: str, first: int, encoding: str, expected: int) -> int:
    """Count the decompressed bytes of the voxels, up to one more than expected, verifying gzip's checksum."""
    with path.open("rb") as file:
        file.seek(first)
        if encoding == "raw":
            return path.stat().st_size - first
        if encoding not in ("gzip", "gz"):
            raise DataError(path, case, f"its encoding is {encoding!r}, expected raw or gzip.", _AGAIN)
        count = 0
        try:
            with gzip.open(file) as inflated:
                while count <= expected and (chunk := inflated.read(_CHUNK)):
                    count += len(chunk)
        except (OSError, EOFError, ValueError, zlib.error) as error:
            raise DataError(path, case, f"its voxels are damaged ({error}).", _AGAIN) from error
        return count


def read_nrrd_header(path: Path) -> tuple[dict[str, str], int]:
    """Read the header of a NRRD file, and the offset of its voxels.

    Raises:
        DataError: it is no NRRD, its values are kept in another file, which is not read, or its lengths are not in mm.
    """
    remedy = "Save it again as one .nrrd file."
    try:
        with path.open("rb") as file:
            start = file.read(_HEADER_BYTES)
    except OSError as error:
        raise DataError(path, None, f"it cannot be read ({error.strerror}).", remedy) from error
    text, end, _ = start.replace(b"\r\n", b"\n").partition(b"\n\n")
    first = min((at + len(gap) for gap in (b"\n\n", b"\r\n\r\n") if (at := start.find(gap)) >= 0), default=0)
    if not text.startswith(b"NRRD000") or not end or b"\r" in text:
        raise DataError(path, None, "it cannot be read as NRRD (its header is cut or another).", remedy)
    lines = [line for line in text.decode("utf-8", "replace").split("\n")[1:] if not line.startswith("#")]
    header: dict[str, str] = {}
    for line in lines:
        name, found, value = line.partition(":=") if ":=" in line else line.partition(":")
        if found:
            header[name.strip()] = value.strip()
    if {name.lower().replace(" ", "") for name in header} & {"datafile"}:
        raise DataError(path, None, "its values are kept in another file.", remedy)
    units = {unit for name, value in header.items() if name.lower() == "space units" for unit in _UNIT.findall(value)}
    if units - {"mm", "", "???"}:  # ITK takes every number for mm
        raise DataError(path, None, f"its unit of length is {', '.join(sorted(units))}, expected mm.", remedy)
    return header, first


def unpacked_bytes(path: Path) -> int:
    """Return the decompressed size of a file's values by its header.

    Raises:
        DataError: the header is damaged.
    """
    header, _ = read_nrrd_header(path)
    sizes, kind = header.get("sizes", "").split(), header.get("type", "").lower()
    each = next((size for word, size in _BYTES.items() if word in kind), None)
    if not sizes or not all(size.isdecimal() for size in sizes) or each is None:
        raise DataError(path, None, "its header does not say its size and type.", "Save it again as .nrrd.")
    return int(np.prod([int(size) for size in sizes], dtype=object)) * each
