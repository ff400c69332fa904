"""Torch files with a checksum, which plain ``torch.load`` reads too.

``torch.load`` does not check the checksums of its own format (221 of 300 files with one flipped bit loaded with
other numbers, torch 2.13). A torch file is a zip archive, so the SHA-256 of everything else goes into the archive's
comment: one file, one rename, no second file that could disagree after a crash.
"""

from __future__ import annotations

import hashlib
import os
import re
import struct
import zipfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

import numpy as np
import torch

from ctan_monai.errors import CheckpointError
from ctan_monai.files.atomic import replacing
from ctan_monai.files.json_files import cannot_save

_MARK = b"ctan-monai-1 sha256="
_COMMENT_BYTES = len(_MARK) + 64
_TAIL = struct.pack("<H", _COMMENT_BYTES) + _MARK  # a zip file ends with its comment's length and the comment
_CHUNK_BYTES = 1 << 20
_REMEDY = "Restore it from a copy, or start afresh without --resume True."


def save_atomic(value: Any, path: str | Path, previous: str | Path | None = None) -> None:
    """Save a torch file atomically, with a checksum.

    Args:
        value: tensors, numbers, texts, and dictionaries, lists and tuples of these (see `plain`).
        path: the file to create or replace.
        previous: the replaced file stays under this name, in the same folder.

    Raises:
        CheckpointError: it could not be written.
        TypeError: something in ``value`` could not be loaded again without running foreign code.
    """
    kept = plain(value)
    kept_as = None if previous is None else Path(previous)
    with replacing(Path(path), previous=kept_as, error=cannot_save) as temporary, temporary.open("wb") as handle:
        writer = _HashingWriter(handle)
        torch.save(kept, cast(IO[bytes], writer))
        writer.finish()


def load_checked(path: str | Path, needs_checksum: bool = True) -> Any:
    """Load a torch file to the CPU after verifying its checksum, without running code that it contains.

    Args:
        path: the file.
        needs_checksum: refuse a file that `save_atomic` did not write; otherwise the zip's own CRC-32 must do.

    Raises:
        CheckpointError: the file is missing, truncated, changed, foreign, or holds more than plain data.
    """
    try:
        with Path(path).open("rb") as handle:
            _verify(handle, path, needs_checksum)
            handle.seek(0)
            return torch.load(handle, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise CheckpointError(path, "there is no such file.", "Check --output_dir, or train first.") from error
    except CheckpointError:
        raise
    except Exception as error:  # a hostile pickle can make the reader raise anything
        raise CheckpointError(
            path, f"it cannot be read as plain tensors and numbers ({type(error).__name__}).", _REMEDY
        ) from error


def plain(value: Any, where: str = "state") -> Any:
    """Convert a state to types that ``weights_only`` loading accepts (tensors are not copied).

    Raises:
        TypeError: an entry has no plain form; the message says where it stands.
    """
    if isinstance(value, torch.Tensor):
        return value.detach().as_subclass(torch.Tensor)
    if isinstance(value, np.ndarray):
        return torch.from_numpy(np.ascontiguousarray(value))
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Counter):  # MultiStepLR's milestones
        return Counter({plain(key, where): int(count) for key, count in value.items()})
    if isinstance(value, Mapping):
        return {plain(key, where): plain(entry, f"{where}.{key}") for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        entries = [plain(entry, f"{where}[{index}]") for index, entry in enumerate(value)]
        return entries if isinstance(value, list) else tuple(entries)
    for kind in (bool, int, float, str):  # also turns subclasses (np.float64, IntEnum) into the bare type
        if isinstance(value, kind):
            return kind(value)
    if value is None:
        return None
    raise TypeError(f"{where} is a {type(value).__name__}: keep numbers, texts and tensors in a state_dict.")


def copied(state: Any) -> Any:
    """Copy what `plain` returned to the CPU's memory, where training does not change it.

    Copies from a GPU run side by side, to page-locked memory; all are complete on return.
    """
    copy = _copied(state)
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.synchronize()
    return copy


def _copied(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.to("cpu", non_blocking=value.is_cuda, copy=True)
    if isinstance(value, dict):
        return type(value)({key: _copied(entry) for key, entry in value.items()})
    return type(value)(map(_copied, value)) if isinstance(value, list | tuple) else value


class _HashingWriter:
    """File object for torch.save that hashes, and keeps an error of the disk until torch has finished.

    An exception that passes through torch's C++ writer loses its type.
    """

    def __init__(self, handle: BinaryIO) -> None:
        self._handle, self._hash = handle, hashlib.sha256()
        self._error: OSError | None = None

    def write(self, data: bytes) -> int:
        if self._error is None:
            try:
                self._handle.write(data)
            except OSError as error:
                self._error = error
        self._hash.update(data)
        return len(data)

    def flush(self) -> None:
        """Do nothing: the file is flushed and synced once, at the end."""

    def finish(self) -> None:
        if self._error is not None:
            raise self._error
        self._handle.seek(-2, os.SEEK_END)
        self._handle.write(_TAIL + self._hash.hexdigest().encode())


def _verify(handle: BinaryIO, path: str | Path, needs_checksum: bool) -> None:
    size = os.fstat(handle.fileno()).st_size
    handle.seek(max(0, size - _COMMENT_BYTES - 2))
    found = re.fullmatch(re.escape(_TAIL) + rb"([0-9a-f]{64})", handle.read())
    if found:
        intact = _sha256_without_comment(handle, size - _COMMENT_BYTES - 2) == found[1].decode()
    elif needs_checksum:
        reason = "it has no checksum of ctan_monai: truncated, or written by something else."
        raise CheckpointError(path, reason, _REMEDY)
    else:
        intact = _crc_fits(handle)
    if not intact:
        raise CheckpointError(path, "its checksum does not fit: the file was changed or damaged.", _REMEDY)


def _sha256_without_comment(handle: BinaryIO, length: int) -> str:
    digest = hashlib.sha256()
    handle.seek(0)
    while length > 0 and (chunk := handle.read(min(_CHUNK_BYTES, length))):
        digest.update(chunk)
        length -= len(chunk)
    digest.update(b"\x00\x00")  # the length of the comment when torch had written the file
    return digest.hexdigest()


def _crc_fits(handle: BinaryIO) -> bool:
    handle.seek(0)
    try:
        with zipfile.ZipFile(handle) as archive:
            return archive.testzip() is None
    except zipfile.BadZipFile:
        return False
