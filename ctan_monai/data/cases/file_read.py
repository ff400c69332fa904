"""Read a case file, one slice of it, or a digest of its content, verifying every byte."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, TypeVar

import blosc2
import numpy as np
import numpy.typing as npt

from ctan_monai.data.cases.case import Case
from ctan_monai.data.cases.file_header import PREFIX_BYTES, DamagedError, Header, body_bytes, digest, unpack
from ctan_monai.data.cases.file_layers import Array, Layer, clip, expand_masks, expand_volume
from ctan_monai.errors import DataError

_REMEDY = "Delete the file and prepare the data again."
_T = TypeVar("_T")
_NOT_CONTENT = ("fingerprint", "meta")  # when and from where it was read


def read_header(path: str | Path) -> Header:
    """Read the header of a file, and check it and the length of the file.

    Raises:
        DataError: the file cannot be read, is no cache file, or is damaged.
    """
    return _guarded(path, lambda file: _read_head(file)[0])


def check_case_file(path: str | Path) -> Header:
    """Verify every byte of a file by its digests without decompressing the arrays.

    Raises:
        DataError: the file cannot be read, is no cache file, or is damaged.
    """

    def check(file: BinaryIO) -> Header:
        header, start = _read_head(file)
        for slab in range(len(header.sizes)):
            _checked_slab(file, header, start, slab)
        return header

    return _guarded(path, check)


def read_case_file(path: str | Path) -> Case:
    """Read a case.

    Args:
        path: a file that ``write_case`` wrote.

    Returns:
        The case, bit for bit as it was written.

    Raises:
        DataError: the file cannot be read, is no cache file, or is damaged in any byte.
    """
    return _guarded(path, _read_whole)


def read_slice(path: str | Path, index: int) -> Case:
    """Read one slice along the last axis, verifying what is read.

    Args:
        path: a file of a case with three axes (*S) = (H, W, D).
        index: 0 to D-1.

    Returns:
        A case whose arrays are (H, W), whose affine starts at the slice and whose meta has ``slice``.

    Raises:
        DataError: there is no such slice, or the part that was read is damaged.
    """
    return _guarded(path, lambda file: _read_slice(file, index))


def _guarded(path: str | Path, read: Callable[[BinaryIO], _T]) -> _T:
    """Open a file for reading, and convert errors to DataErrors."""
    try:
        with Path(path).open("rb") as file:
            return read(file)
    except DamagedError as error:
        raise DataError(path, None, f"the cached case is damaged: {error}.", _REMEDY) from error
    except OSError as error:
        reason = f"the cached case cannot be read ({error.strerror or error})."
        raise DataError(path, None, reason, "Check the path, or prepare the data again.") from error
    except (ValueError, KeyError, TypeError, IndexError, RuntimeError, MemoryError) as error:
        reason = f"the cached case cannot be read ({type(error).__name__}: {error})."
        raise DataError(path, None, reason, _REMEDY) from error


def _read_head(file: BinaryIO) -> tuple[Header, int]:
    """Read the header, and return it with the offset of the slabs."""
    prefix = file.read(PREFIX_BYTES)
    length = body_bytes(prefix)
    file_bytes = os.fstat(file.fileno()).st_size
    if PREFIX_BYTES + length > file_bytes:  # before as much memory is asked for as a damaged length says
        raise DamagedError("it ends within its header")
    header = unpack(prefix, file.read(length))
    expected = PREFIX_BYTES + length + sum(map(sum, header.sizes))
    if file_bytes != expected:
        raise DamagedError(f"it has {file_bytes} bytes, its header says {expected}")
    return header, PREFIX_BYTES + length


def _checked_slab(file: BinaryIO, header: Header, start: int, slab: int) -> memoryview:
    """Read one slab and verify its digest."""
    offset, stop = header.slab_bytes(slab)
    file.seek(start + offset)
    content = memoryview(file.read(stop - offset))
    if digest(content).hex() != header.digests[slab]:
        first, last = header.window(slab)
        raise DamagedError(f"slices {first} to {last - 1} do not match their digest")
    return content


def _unpack_frame(frame: memoryview, part: Array) -> None:
    """Decompress a frame to an array of known size."""
    # blosc2 itself writes past the end of an array that is too small.
    if blosc2.get_cbuffer_sizes(frame)[0] != part.nbytes:
        raise DamagedError("an array has another size than its header says")
    blosc2.decompress2(frame, dst=part, nthreads=1)


def _crops(header: Header, window: tuple[int, int], slabs: dict[int, memoryview]) -> list[Array]:
    """Decompress the part of every layer that lies in a window made of whole slabs."""
    crops: list[Array] = []
    for number, layer in enumerate(header.layers):
        box = clip(layer.box, window)
        if not box:
            crops.append(np.empty(0, layer.stored))
            continue
        crop = np.empty((box[-1][1] - box[-1][0], *layer.crop_shape[1:]), layer.stored)
        for slab, content in slabs.items():
            local = clip(layer.box, header.window(slab))
            if not local:
                continue
            offset = sum(header.sizes[slab][:number])
            first = header.window(slab)[0] + local[-1][0] - max(layer.box[-1][0], window[0])
            part = crop[first : first + local[-1][1] - local[-1][0]]
            _unpack_frame(content[offset : offset + header.sizes[slab][number]], part)
        crops.append(crop)
    return crops


def _expand(
    header: Header, crops: list[Array], window: tuple[int, int]
) -> tuple[dict[str, Array], dict[str, npt.NDArray[np.bool_]]]:
    volumes: dict[str, Array] = {}
    masks: dict[str, npt.NDArray[np.bool_]] = {}
    for layer, crop in zip(header.layers, crops, strict=True):
        if layer.is_mask:
            masks.update(expand_masks(layer, crop, header.shape, window))
        else:
            volumes[layer.names[0]] = expand_volume(layer, crop, header.shape, window)
    return volumes, masks


def _read_whole(file: BinaryIO) -> Case:
    header, start = _read_head(file)
    slabs = {slab: _checked_slab(file, header, start, slab) for slab in range(len(header.sizes))}
    window = (0, header.shape[-1])
    volumes, masks = _expand(header, _crops(header, window, slabs), window)
    return Case(header.case, volumes, masks, np.array(header.affine_ras), header.values, header.meta)


def _slice_of(layer: Layer, crop: Array, slab: tuple[int, int], window: tuple[int, int]) -> Array:
    """Return the one slice of a slab's crop, or nothing where the layer has none there."""
    if not clip(layer.box, window):
        return crop[:0]
    at = window[0] - max(layer.box[-1][0], slab[0])
    return crop[at : at + 1]


def _read_slice(file: BinaryIO, index: int) -> Case:
    header, start = _read_head(file)
    if len(header.shape) != 3 or not 0 <= index < header.shape[-1]:
        raise IndexError(f"slice {index} was asked for of an array of shape {header.shape}")
    slab = index // header.slab
    content = _checked_slab(file, header, start, slab)
    slab_window, window = header.window(slab), (index, index + 1)
    crops = _crops(header, slab_window, {slab: content})
    crops = [_slice_of(layer, crop, slab_window, window) for layer, crop in zip(header.layers, crops, strict=True)]
    volumes, masks = _expand(header, crops, window)
    whole = Case(header.case, volumes, masks, np.array(header.affine_ras), header.values, header.meta)
    return _cut(whole, 0, index)


def slice_of(case: Case, index: int) -> Case:
    """Cut one slice along the last axis out of a case (H, W, D); the same as `read_slice` reads from its file.

    Raises:
        DataError: there is no such slice.
    """
    if len(case.shape) != 3 or not 0 <= index < case.shape[-1]:
        reason = f"slice {index} was asked for of an array of shape {case.shape}."
        raise DataError("case", case.case, reason, "Prepare the list of slices again.")
    return _cut(case, index, index)


def _cut(case: Case, at: int, index: int) -> Case:
    """Return the slice at a place of the arrays, which is that of this index in the affine's grid."""
    affine_ras = case.affine_ras.copy()
    affine_ras[:3, 3] += affine_ras[:3, 2] * index
    volumes = {name: volume[..., at] for name, volume in case.volumes.items()}
    masks = {name: mask[..., at] for name, mask in case.masks.items()}
    return Case(case.case, volumes, masks, affine_ras, case.values, {**case.meta, "slice": index})


def case_content(path: str | Path) -> str:
    """Compute a digest of a case's volumes, masks, affine and values.

    The same for a copy, and for a case that was read again from the same source, by the same version of the compressor.
    Costs the reading of the header, which holds digests of the rest.

    Raises:
        DataError: the file cannot be read, or its header is damaged.
    """
    fields = {name: value for name, value in dataclasses.asdict(read_header(path)).items() if name not in _NOT_CONTENT}
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()
