"""Write cases to compact, checked files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import blosc2
import numpy as np
import numpy.typing as npt

from ctan_monai.data.cases.case import Case
from ctan_monai.data.cases.file_header import Header, digest, slab_thickness
from ctan_monai.data.cases.file_layers import (
    MASKS_PER_LAYER,
    Array,
    Layer,
    foreground_of,
    mask_layer,
    volume_layer,
)
from ctan_monai.errors import DataError
from ctan_monai.files.atomic import replacing

CASE_SUFFIX = ".case"
_LEVEL = 5


def write_case(path: str | Path, case: Case, fingerprint: str = "") -> None:
    """Write a case atomically.

    Args:
        path: the file to write or replace.
        case: what to write; lists stand for tuples in ``meta`` when it is read back.
        fingerprint: names the state of the source, to see later whether the file is up to date.

    Raises:
        DataError: the folder cannot be written, or ``meta`` holds something that JSON cannot.
    """
    path = Path(path)
    stored = list(_layers(case))
    thickness = slab_thickness(case.shape)
    starts = range(0, case.shape[-1], thickness)
    slabs = [[_compress(_part(layer, crop, (k, k + thickness))) for layer, crop in stored] for k in starts]
    header = Header(
        case=case.case,
        shape=case.shape,
        affine_ras=case.affine_ras.tolist(),
        values=dict(case.values),
        meta=dict(case.meta),
        fingerprint=fingerprint,
        occupied=_occupied(case),
        layers=tuple(layer for layer, _ in stored),
        slab=thickness,
        sizes=[[len(frame) for frame in slab] for slab in slabs],
        digests=[digest(*slab).hex() for slab in slabs],
    )
    try:
        head = header.pack()
    except (TypeError, ValueError) as error:
        raise DataError(path, case.case, f"meta cannot be stored ({error}).", "Keep to what JSON can hold.") from error
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.write(head)
        file.writelines(frame for slab in slabs for frame in slab)


def _layers(case: Case) -> Iterator[tuple[Layer, Array]]:
    for name, volume in case.volumes.items():
        yield volume_layer(name, volume)
    names = list(case.masks)
    for first in range(0, len(names), MASKS_PER_LAYER):
        yield mask_layer({name: case.masks[name] for name in names[first : first + MASKS_PER_LAYER]})


def _part(layer: Layer, crop: Array, window: tuple[int, int]) -> Array:
    """Return the slices of a crop that lie in a window of the case's last axis."""
    if not layer.box:
        return crop
    first = layer.box[-1][0]
    return crop[max(0, window[0] - first) : max(0, window[1] - first)]


def _compress(part: Array) -> bytes:
    if not part.size:
        return b""
    return bytes(
        blosc2.compress2(
            part,
            codec=blosc2.Codec.ZSTD,
            clevel=_LEVEL,
            typesize=part.dtype.itemsize,
            filters=[blosc2.Filter.SHUFFLE],
            nthreads=1,  # loaders' workers are the parallelism
        )
    )


def _occupied(case: Case) -> dict[str, list[tuple[int, int]]]:
    inside = {**{name: foreground_of(volume) for name, volume in case.volumes.items()}, **case.masks}
    return {name: _runs(np.asarray(array.any(axis=tuple(range(array.ndim - 1))))) for name, array in inside.items()}


def _runs(flags: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    return [(int(start), int(stop)) for start, stop in edges.reshape(-1, 2)]
