"""Checks of received files: their type, and their size when decompressed."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterable
from pathlib import Path

from ctan_monai.data.formats.images import IMAGE_FILE_SUFFIXES
from ctan_monai.data.formats.itk_volume import NRRD_SUFFIX, unpacked_bytes
from ctan_monai.data.formats.nifti import NIFTI_SUFFIXES
from ctan_monai.errors import DataError

IMAGE_SUFFIXES = (*NIFTI_SUFFIXES, NRRD_SUFFIX, *IMAGE_FILE_SUFFIXES, ".mha", ".dcm")
_MIB = 2**20
_META_HEADER_BYTES = 2**16
_META_BYTES = {"CHAR": 1, "SHORT": 2, "MET_INT": 4, "MET_UINT": 4, "FLOAT": 4}


class TooLargeError(DataError):
    """A file is larger than the limit, also when decompressed."""


def check_received(path: Path, limit_mib: float, suffixes: Iterable[str] = IMAGE_SUFFIXES) -> None:
    """Check that a received file may be read.

    Args:
        path: a file, or a folder of files.
        limit_mib: for all of it, as it is and unpacked.
        suffixes: endings that are taken; a folder's files may have any.

    Raises:
        TooLargeError: it is larger.
        DataError: it is of another kind, or its values are kept in another file.
    """
    if path.is_dir():
        files = [file for file in path.rglob("*") if file.is_file()]
    elif not path.name.lower().endswith(tuple(suffixes)):
        found = f"it ends in {''.join(path.suffixes)[-16:]!r}, expected one of {', '.join(suffixes)}."
        raise DataError(path, None, found, "Save it in one of these formats; in 3D Slicer .nii.gz is the usual one.")
    else:
        files = [path]
    left = int(limit_mib * _MIB)
    for file in files:
        left -= _unpacked(file, left)
        if left < 0:
            reason = f"it is larger than {limit_mib:g} MiB once it is unpacked."
            raise TooLargeError(path, None, reason, "Send a smaller file, or raise upload_mib in the app's app.json.")


def _unpacked(file: Path, limit: int) -> int:
    """Return the decompressed size of a file, or any number above the limit."""
    name, size = file.name.lower(), file.stat().st_size
    if name.endswith(NRRD_SUFFIX):
        return max(size, unpacked_bytes(file))
    if name.endswith(IMAGE_FILE_SUFFIXES):
        return max(size, _pixels(file))
    if name.endswith((".mha", ".mhd")):
        return max(size, _meta_bytes(file))
    return max(size, _gunzipped(file, limit)) if name.endswith(".gz") else size


def _gunzipped(file: Path, limit: int) -> int:
    count = 0
    try:
        with gzip.open(file) as content:
            while count <= limit and (part := content.read(_MIB)):
                count += len(part)
    except (OSError, EOFError, zlib.error):
        pass  # what is damaged is refused by its reader, with a better reason
    return count


def _pixels(file: Path) -> int:
    from PIL import Image

    try:
        with Image.open(file) as opened:
            return opened.width * opened.height * len(opened.getbands())
    except Image.DecompressionBombError:
        return 2**62
    except (OSError, ValueError):
        return 0  # refused by its reader, with a better reason


def _meta_bytes(file: Path) -> int:
    """Return the size that a MetaImage's header says, at 8 bytes a voxel unless it names a smaller type."""
    with file.open("rb") as content:
        start = content.read(_META_HEADER_BYTES).partition(b"ElementDataFile")
    lines = dict(line.split("=", 1) for line in start[0].decode("latin-1").splitlines() if "=" in line)
    header = {key.strip(): value.strip() for key, value in lines.items()}
    if not start[1] or not start[2].lstrip(b" =\t").upper().startswith(b"LOCAL"):
        raise DataError(file, None, "its values are kept in another file.", "Save it as one .mha file.")
    kind, channels = header.get("ElementType", ""), header.get("ElementNumberOfChannels", "1")
    each = next((size for word, size in _META_BYTES.items() if word in kind), 8)
    count = int(channels) if channels.isdecimal() else 1
    for size in header.get("DimSize", "").split():
        count *= int(size) if size.isdecimal() else 1
    return count * each
