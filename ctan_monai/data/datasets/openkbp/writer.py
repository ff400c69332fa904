"""Write a dose in the sparse format of the OpenKBP challenge, and read such a file into a dense array."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ctan_monai.data.datasets.openkbp.sparse import SHAPE, read_entries
from ctan_monai.errors import DataError
from ctan_monai.files.atomic import replacing

_logger = logging.getLogger(__name__)


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
    with replacing(path) as temporary:
        temporary.write_text(",data\n" + "".join(lines), encoding="ascii", newline="\n")


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
