"""OpenKBP's sparse CSV files: ``,data`` and then one line ``index,value`` per voxel, the index in C order.

A file of a structure has an empty value on each line. Reading is strict, because a file that was cut short or
garbled would otherwise look like a smaller structure or a lower dose.
"""

from __future__ import annotations

import logging
import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ctan_monai.errors import DataError
from ctan_monai.files.atomic import replace_text

SHAPE = (128, 128, 128)
SIZE = 128**3
_DOWNLOAD = "Download or export this file again."

_POWERS_OF_TEN = np.array([float(f"1e{power}") for power in range(23)])  # those that double precision holds exactly

Entries = tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]
_logger = logging.getLogger(__name__)


def read_entries(path: str | Path, size: int = SIZE) -> Entries:
    """Read the index and the value of each line.

    Args:
        path: a file such as ``ct.csv``.
        size: voxels of the volume.

    Returns:
        Indices (N,), each once and within the volume, and finite values (N,).

    Raises:
        DataError: the file is missing, cut short or garbled, an index is outside or repeated, a value is NaN or
            infinite.
    """
    index, values = _parse(Path(path), size)
    if not np.isfinite(values).all():
        at = int(np.flatnonzero(~np.isfinite(values))[0])
        raise _refuse(path, f"line {at + 2} has the value {values[at]}, expected a finite number.")
    return index, values


def read_index(path: str | Path, size: int = SIZE) -> npt.NDArray[np.int64]:
    """Read the voxels of a structure: lines ``index,``, or ``index,1`` as other programs write them.

    Raises:
        DataError: as for ``read_entries``; or a value is neither empty nor 1.
    """
    index, values = _parse(Path(path), size)
    if not (np.isnan(values) | (values == 1)).all():
        at = int(np.flatnonzero(~(np.isnan(values) | (values == 1)))[0])
        raise _refuse(path, f"line {at + 2} has the value {values[at]:g}, a structure's file has none.")
    return index


def read_spacing(path: str | Path) -> tuple[float, float, float]:
    """Read ``voxel_dimensions.csv``.

    Returns:
        (dx, dy, dz) in mm.

    Raises:
        DataError: the file is missing, or is not three positive numbers.
    """
    lines = _content(Path(path)).decode(errors="replace").split()
    try:
        spacing_mm = [float(line) for line in lines]
    except ValueError:
        spacing_mm = []
    if len(spacing_mm) != 3 or not all(math.isfinite(mm) and mm > 0 for mm in spacing_mm):
        raise _refuse(path, f"it holds {' '.join(lines)[:100]!r}, expected three positive numbers in mm.")
    return spacing_mm[0], spacing_mm[1], spacing_mm[2]


def _refuse(path: str | Path, reason: str) -> DataError:
    return DataError(path, Path(path).parent.name, reason, _DOWNLOAD)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _refuse(path, f"it cannot be read ({error.strerror}).") from error


def _parse(path: Path, size: int) -> Entries:
    content = _content(path)
    header, _, body = content.partition(b"\n")
    if header.strip() != b",data":
        raise _refuse(path, f"it starts with {header[:40]!r}, expected ',data'.")
    if body and not body.endswith(b"\n"):
        raise _refuse(path, "it ends within a line, so it was cut short.")
    if b"\r" in body:
        body = body.replace(b"\r\n", b"\n")
    letters = np.frombuffer(body, np.uint8)
    separators = np.flatnonzero((letters == ord(",")) | (letters == ord("\n")))
    commas, ends = separators[0::2], separators[1::2]
    if len(commas) != len(ends) or (letters[commas] != ord(",")).any() or (letters[ends] != ord("\n")).any():
        raise _refuse(path, "some line is not 'index,value'.")
    if not body:
        return np.empty(0, np.int64), np.empty(0, np.float64)
    index, values = _parse_decimals(body, commas, ends) or _parse_any(path, body)
    if index.min() < 0 or index.max() >= size:
        raise _refuse(path, f"indices run from {index.min()} to {index.max()}, expected 0 to {size - 1}.")
    ordered = index if (np.diff(index) > 0).all() else np.sort(index)
    repeated = ordered[1:][np.diff(ordered) == 0]
    if repeated.size:
        raise _refuse(path, f"the index {repeated[0]} occurs more than once.")
    return index, values


def _parse_decimals(body: bytes, commas: npt.NDArray[Any], ends: npt.NDArray[Any]) -> Entries | None:
    """Parse numbers without sign and exponent, of up to 15 digits; None: some are not so.

    Such a number is a whole one below 2**53 over a power of ten up to 10**22. Both are exact in double precision, so
    one division rounds as reading the text does (Clinger 1990, section 4).
    """
    if body.translate(None, b"0123456789.,\n"):
        return None
    empty = int(np.count_nonzero(ends - commas == 1))
    if empty and (empty < len(ends) or b"." in body):
        return None
    if empty:
        index = np.fromstring(body.replace(b",", b" "), np.int64, sep=" ")
        return (index, np.full(len(ends), np.nan)) if len(index) == len(ends) else None
    numbers = np.fromstring(body.translate(bytes.maketrans(b",\n", b"  "), b"."), np.int64, sep=" ")
    dots = np.flatnonzero(np.frombuffer(body, np.uint8) == ord("."))
    line = np.arange(len(ends)) if len(dots) == len(ends) else np.searchsorted(ends, dots)
    decimals = np.zeros(len(ends), np.int64)
    decimals[line] = ends[line] - dots - 1
    one_each = (dots > commas[line]).all() and (dots < ends[line]).all() and (np.diff(line) > 0).all()
    if not one_each or len(numbers) != 2 * len(ends) or numbers.max() >= 2**53 or decimals.max() >= len(_POWERS_OF_TEN):
        return None
    return numbers[0::2].copy(), numbers[1::2] / _POWERS_OF_TEN[decimals]


def _parse_any(path: Path, body: bytes) -> Entries:
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)  # what NumPy before 2.4 gives for what is no number
        try:
            flat = np.fromstring(body.replace(b",\n", b",nan\n").replace(b"\n", b","), sep=",")
        except (ValueError, DeprecationWarning) as error:
            raise _refuse(path, "it is not a table of 'index,value' (some entry is no number).") from error
    index, values = flat[0::2], flat[1::2]
    if not (np.abs(index) < 2**53).all() or (index % 1).any():
        raise _refuse(path, "it is not a table of 'index,value' (an index is no whole number).")
    return index.astype(np.int64), values.copy()


def write_sparse(volume: npt.NDArray[Any], path: str | Path, *, clip_negative: bool = True) -> None:
    """Write the voxels of a volume that are not zero, as the challenge's submissions are written.

    Numbers are written with as many digits as their type needs, so ``read_sparse`` gives the same float32 back.

    Args:
        volume: (*S), dose in Gy.
        path: the CSV file to write or replace; never half written.
        clip_negative: negative values become zero, hence no entry, and the log says how many there were. A
            physical dose has none; networks predict small ones, which the official writer turned into entries.

    Raises:
        DataError: the volume holds NaN or infinity, or the file cannot be written.
    """
    path = Path(path)
    if not np.isfinite(volume).all():
        count = int((~np.isfinite(volume)).sum())
        raise DataError(path, None, f"{count} of {volume.size} voxels are NaN or infinite.", "Check the network.")
    flat = np.ascontiguousarray(volume).reshape(-1)
    negative = int((flat < 0).sum())
    if clip_negative and negative:
        _logger.info("%s: %d negative voxels, down to %.3g, were written as 0", path, negative, flat.min())
        flat = np.maximum(flat, 0)
    index = np.flatnonzero(flat)
    numbers = flat[index].astype(str) if flat.dtype.kind == "f" else flat[index].astype(np.int64).astype(str)
    lines = [f"{at},{number}\n" for at, number in zip(index.tolist(), numbers.tolist(), strict=True)]
    replace_text(path, ",data\n" + "".join(lines))


def read_sparse(path: str | Path, shape: tuple[int, ...] = SHAPE) -> npt.NDArray[np.float32]:
    """Read a sparse file into a dense array; voxels without an entry are 0.

    Args:
        path: a file such as ``dose.csv``, or one that ``write_sparse`` wrote.
        shape: shape of the volume.

    Returns:
        (*S) float32.

    Raises:
        DataError: the file is missing, cut short or garbled, an index is outside or repeated, a value is NaN or
            infinite.
    """
    size = int(np.prod(shape))
    index, values = read_entries(path, size)
    dense = np.zeros(size, np.float32)
    dense[index] = values
    return dense.reshape(shape)
