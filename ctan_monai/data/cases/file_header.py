"""The header of a cache file, with a digest over itself and one per slab of slices.

    magic 8 | version 2 | length of the header 4 | digest 16 | header (JSON) | slab 0 | slab 1 | ...

The digest covers the magic, the version, the length and the header; the header holds the sizes and digests of the
slabs, so that every byte of the file is covered, and slices can be checked without reading the rest.
"""

from __future__ import annotations

import hashlib
import json
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np

from ctan_monai.data.cases.file_layers import Layer

MAGIC = b"CTANCASE"
VERSION = 1
DIGEST_BYTES = 16
_FIELDS = struct.Struct("<8sHI")
PREFIX_BYTES = _FIELDS.size + DIGEST_BYTES
_SLAB_VOXELS = 128 * 128 * 8  # measured: 8 slices of 128 x 128 cost 3 % more space and 0.5 ms more than whole volumes


class DamagedError(Exception):
    """The bytes are no complete, undamaged cache file of this version; converted to a DataError with the path."""


def digest(*parts: bytes | memoryview) -> bytes:
    """Compute a BLAKE2b digest of 16 bytes over the parts."""
    state = hashlib.blake2b(digest_size=DIGEST_BYTES)
    for part in parts:
        state.update(part)
    return state.digest()


@dataclass(frozen=True)
class Header:
    """Everything in a cache file but the compressed arrays.

    Args:
        case: id.
        shape: shape of the case.
        affine_ras: (4, 4) as nested lists.
        values: labels of the whole image.
        meta: extras.
        fingerprint: what the case was read from; see ``cache.CaseCache``.
        occupied: for each volume and mask, (start, stop) runs of the indices along the last axis in which it has a
            voxel that is not background.
        layers: how the arrays were stored.
        slab: slices in a slab.
        sizes: bytes of each layer in each slab.
        digests: digest of each slab, as hex.
    """

    case: str
    shape: tuple[int, ...]
    affine_ras: list[list[float]]
    values: dict[str, Any]
    meta: dict[str, Any]
    fingerprint: str
    occupied: dict[str, list[tuple[int, int]]]
    layers: tuple[Layer, ...]
    slab: int
    sizes: list[list[int]]
    digests: list[str]

    def window(self, slab: int) -> tuple[int, int]:
        """Return (start, stop) of the slices of a slab."""
        return slab * self.slab, min((slab + 1) * self.slab, self.shape[-1])

    def slab_bytes(self, slab: int) -> tuple[int, int]:
        """Return (start, stop) of a slab in the file, counted from the end of the header."""
        start = sum(sum(sizes) for sizes in self.sizes[:slab])
        return start, start + sum(self.sizes[slab])

    def slices_with(self, name: str) -> list[int]:
        """Return the slices in which a volume or mask has a voxel that is not background."""
        return [index for start, stop in self.occupied.get(name, []) for index in range(start, stop)]

    def pack(self) -> bytes:
        """Serialize the header."""
        fields = {**self.__dict__, "layers": [layer.to_json() for layer in self.layers]}
        body = json.dumps(fields, allow_nan=False, separators=(",", ":"), default=_plain).encode()
        front = _FIELDS.pack(MAGIC, VERSION, len(body))
        return front + digest(front, body) + body


def slab_thickness(shape: tuple[int, ...]) -> int:
    """Return how many slices lie in a slab: about 128 x 128 x 8 voxels, and all of an image in one."""
    if len(shape) < 3:
        return shape[-1]
    return max(1, min(shape[-1], _SLAB_VOXELS // (shape[0] * shape[1])))


def body_bytes(prefix: bytes) -> int:
    """Return how many bytes of header follow the prefix.

    Raises:
        DamagedError: the prefix is none.
    """
    if len(prefix) < PREFIX_BYTES:
        raise DamagedError(f"it has {len(prefix)} bytes, fewer than the smallest cache file")
    magic, version, length = _FIELDS.unpack_from(prefix)
    if magic != MAGIC:
        raise DamagedError(f"it starts with {magic!r}, a cache file with {MAGIC!r}")
    if version != VERSION:
        raise DamagedError(f"it has version {version}, this program reads version {VERSION}")
    return int(length)


def unpack(prefix: bytes, body: bytes | memoryview) -> Header:
    """Parse the header of a file.

    Args:
        prefix: its first ``PREFIX_BYTES``.
        body: the ``body_bytes(prefix)`` that follow.

    Raises:
        DamagedError: the digest does not match.
    """
    if digest(prefix[: _FIELDS.size], body) != prefix[_FIELDS.size : PREFIX_BYTES]:
        raise DamagedError("its header does not match its digest")
    fields = json.loads(bytes(body))
    fields["layers"] = tuple(Layer.from_json(layer) for layer in fields["layers"])
    fields["shape"] = tuple(fields["shape"])
    return Header(**fields)


def _plain(value: object) -> object:
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")
