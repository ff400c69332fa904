"""Unpack an archive from a stranger: nothing is written before every member has passed."""

from __future__ import annotations

import os
import shutil
import stat
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from ctan_monai.errors import DataError
from ctan_monai.files.archive_names import fault_of_name, place_of, shown
from ctan_monai.files.atomic import umask

_REMEDY = "Do not use this archive; get it again from those who made it."
_CHUNK = 1 << 20
_AFTER_TAR_MAX = 1 << 26  # zeros; tar pads to blocks of 10 kB, tapes to larger ones
_RATIO_MAX = 200  # zlib at most reaches 1032; weights and images stay far below 20
_RATIO_FROM_BYTES = 1 << 20  # a small file of zeros is no bomb


@dataclass(frozen=True)
class Limits:
    """What an archive may unpack to.

    Args:
        total_bytes: of all members.
        members: files and folders.
    """

    total_bytes: int = 20 * 2**30
    members: int = 100_000


@dataclass(frozen=True)
class _Member:
    name: str
    folder: bool
    size: int
    packed: int | None  # bytes in the archive, None if they are not known per member
    kind: str  # what it is if it is neither a file nor a folder, else empty
    open: Callable[[], IO[bytes]]


def unpack(archive: str | Path, folder: str | Path, limits: Limits | None = None) -> list[Path]:
    """Unpack a zip or tar archive (also gz, bz2, xz) into a new folder.

    Everything is checked first: names that lead out of the folder or mean something else on another system, links and
    devices, two members of one place, sizes. The sizes that are declared are held to while unpacking, into a folder
    beside, which takes its place when all is there. Files get the rights that the user gives to new files.

    Args:
        archive: the file.
        folder: is made; it must not be there yet, or be empty.
        limits: None for the usual ones.

    Returns:
        The files, in the archive's order.

    Raises:
        DataError: the archive cannot be read, a member does not pass, or the folder is not empty or cannot be written;
            then nothing was written.
    """
    archive, folder = Path(archive), Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(folder, None, "it is there and not empty.", "Give a new folder.")
    with _opened(archive, limits or Limits()) as members:
        _check(archive, members)
        names = _write(archive, members, folder)
    return [folder / name for name in names]


@contextmanager
def _opened(archive: Path, limits: Limits) -> Iterator[list[_Member]]:
    """Open an archive of either kind; whatever is wrong with it becomes a DataError."""
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as opened:
                yield _within(archive, limits, (_zip_member(opened, info) for info in opened.infolist()))
        else:
            with tarfile.open(archive) as tar:
                members = _within(archive, limits, (_tar_member(tar, info) for info in tar))
                _reach_end(archive, tar.fileobj)
                yield members
    except DataError:
        raise
    except tarfile.TarError as error:  # some are OSErrors too
        raise _damaged(archive, error) from error
    except (OSError, NotImplementedError) as error:
        reason = f"it cannot be unpacked ({getattr(error, 'strerror', None) or error})."
        raise DataError(archive, None, reason, "Check the file, and the space that is left.") from error
    except Exception as error:  # a damaged archive makes zipfile and tarfile raise almost anything
        raise _damaged(archive, error) from error


def _damaged(archive: Path, error: Exception) -> DataError:
    reason = f"it is no archive, or is damaged ({type(error).__name__}: {error})."
    return DataError(archive, None, reason, _REMEDY)


def _reach_end(archive: Path, stream: Any) -> None:
    """Read on behind the last member, as the checksum of a compressed tar stands at its end."""
    done = 0
    while chunk := stream.read(_CHUNK):
        done += len(chunk)
        if any(chunk) or done > _AFTER_TAR_MAX:
            raise DataError(archive, None, "something follows its last member.", _REMEDY)


def _zip_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> _Member:
    mode = info.external_attr >> 16
    odd = stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR)
    kind = "a link" if stat.S_ISLNK(mode) else "no file" if odd else "encrypted" if info.flag_bits & 1 else ""
    # orig_filename: what stands in the file; zipfile itself cuts names at NUL
    return _Member(
        info.orig_filename, info.is_dir(), info.file_size, info.compress_size, kind, lambda: archive.open(info)
    )


def _tar_member(archive: tarfile.TarFile, info: tarfile.TarInfo) -> _Member:
    def open_member() -> IO[bytes]:
        file = archive.extractfile(info)
        if file is None:
            raise ValueError(f"{info.name!r} has no content")
        return file

    plain = info.isreg() or info.isdir()
    kind = "" if plain and not info.issparse() else "a link" if info.issym() or info.islnk() else "no file"
    return _Member(info.name, info.isdir(), info.size, None, kind, open_member)


def _within(archive: Path, limits: Limits, members: Iterable[_Member]) -> list[_Member]:
    """List the members as long as they stay within the limits: to find the next of a tar, this one is inflated."""
    found: list[_Member] = []
    packed, total = archive.stat().st_size, 0
    for member in members:
        found.append(member)
        total += member.size
        if total > limits.total_bytes or (total > _RATIO_FROM_BYTES and total > _RATIO_MAX * packed):
            reason = f"its {packed} bytes unpack to {total} or more, which no honest archive of this kind does."
            raise DataError(archive, None, reason, _REMEDY)
        if len(found) > limits.members:
            raise DataError(archive, None, f"it has more than {limits.members} members.", _REMEDY)
    return found


def _check(archive: Path, members: Sequence[_Member]) -> None:
    if not members:
        raise DataError(archive, None, "there is nothing in it.", _REMEDY)
    places: dict[str, bool] = {}
    for member in members:
        fault = member.kind or fault_of_name(member.name) or _fault_of_size(member)
        place = place_of(member.name)
        if not fault and place in places and not (member.folder and places[place]):
            fault = "there twice (perhaps in other letters)"
        if fault:
            raise DataError(archive, None, f"the member {shown(member.name)} is {fault}.", _REMEDY)
        places[place] = member.folder
    _check_parents(archive, places)


def _check_parents(archive: Path, places: dict[str, bool]) -> None:
    """Refuse a file that stands where a folder has to be."""
    for place in places:
        parts = place.split("/")
        for depth in range(1, len(parts)):
            if places.get("/".join(parts[:depth]), True) is False:
                reason = f"the member {shown(place)} lies inside of a file."
                raise DataError(archive, None, reason, _REMEDY)


def _fault_of_size(member: _Member) -> str:
    if member.size < 0:
        return "of negative size"
    packed = member.packed
    if packed is not None and member.size > _RATIO_FROM_BYTES and member.size > _RATIO_MAX * max(packed, 1):
        return f"a bomb ({packed} bytes that unpack to {member.size})"
    return ""


def _write(archive: Path, members: Sequence[_Member], folder: Path) -> list[str]:
    """Write all members beside the folder, then give them its name."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f".{folder.name[:80]}.part-", dir=folder.parent))
    names = []
    try:
        for member in members:
            path = beside / member.name
            if member.folder:
                path.mkdir(parents=True, exist_ok=True)
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            with member.open() as source, path.open("xb") as target:
                _copy(archive, member, source, target)
            names.append(member.name)
        beside.chmod(0o777 & ~umask())
        if folder.exists():
            folder.rmdir()
        os.rename(beside, folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return names


def _copy(archive: Path, member: _Member, source: IO[bytes], target: IO[bytes]) -> None:
    """Copy as many bytes as were declared, and refuse more or fewer."""
    done = 0
    while chunk := source.read(_CHUNK):
        done += len(chunk)
        if done > member.size:
            break
        target.write(chunk)
    if done != member.size:
        reason = f"the member {shown(member.name)} does not hold the {member.size} bytes that it declares."
        raise DataError(archive, None, reason, _REMEDY)
