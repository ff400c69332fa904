"""Atomic writes of files."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

from ctan_monai.errors import CtanError, DataError, cannot_write

_MARK = ".part-"  # in the name of a file that is being written


@contextlib.contextmanager
def replacing(
    path: Path,
    *,
    previous: Path | None = None,
    exist_ok: bool = True,
    error: Callable[[Path, OSError], CtanError] = cannot_write,
) -> Iterator[Path]:
    """Replace a file atomically by what is written to a temporary file beside it.

    The data reach the disk before the name changes, and the change reaches it too, so that after a crash the old file
    or the new one is there. If writing fails, the old file stays and the temporary one is removed.

    Args:
        path: the file to write or replace; missing folders are created.
        previous: the replaced file stays under this name, in the same folder.
        exist_ok: False to refuse a file that has the name, also one that got it meanwhile; it stays as it is.
        error: makes the error of the system's.

    Yields:
        A name in the same folder, with the same ending, of its own for every writer.

    Raises:
        DataError: the folder cannot be created or written, the disk is full, or a file is not to be replaced.
    """
    temporary: Path | None = None
    try:
        if not exist_ok and os.path.lexists(path):
            raise FileExistsError(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        suffix = "".join(path.suffixes[-2:]) if path.name.endswith(".gz") else path.suffix
        name = path.parent / f".{path.name[:80]}{_MARK}{secrets.token_hex(4)}{suffix}"
        name.touch(exist_ok=False)  # not mkstemp: the umask, which only setting it tells, would be another thread's too
        temporary = name
        yield temporary
        with temporary.open("rb+") as written:
            os.fsync(written.fileno())
        if previous is not None and path.exists():
            add_name(path, previous)
        if exist_ok:
            os.replace(temporary, path)
        else:
            _claim(temporary, path)
        _sync_folder(path.parent)
    except OSError as found:
        if not exist_ok and isinstance(found, FileExistsError) and os.path.lexists(path):
            reason = "a file of this name exists, and is not replaced."
            raise DataError(path, None, reason, "Give another name.") from found
        raise error(path, found) from found
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def replace_text(path: Path, text: str) -> Path:
    """Write a text file atomically in UTF-8, lines as they are, and return its path.

    Raises:
        DataError: as `replacing`.
    """
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")
    return path


def _claim(temporary: Path, path: Path) -> None:
    """Rename a file unless the name is taken.

    Raises:
        FileExistsError: another file has the name.
    """
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        if os.path.lexists(path):
            raise FileExistsError(path) from None
        temporary.rename(path)


def add_name(file: Path, name: Path) -> None:
    """Hard-link a file under a second name, atomically replacing what has it.

    Where the file system has no hard links, the file is renamed instead.
    """
    link = name.with_name(f".{name.name}{_MARK}{secrets.token_hex(4)}")
    try:
        os.link(file, link)
    except OSError:
        os.replace(file, name)
    else:
        os.replace(link, name)


def remove_leftovers(folder: str | Path) -> None:
    """Delete the temporary files of a killed process in a folder that nobody else is writing to."""
    for leftover in Path(folder).glob(f".*{_MARK}*"):
        leftover.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Sync a folder, without which a power cut can undo a renaming."""
    if os.name != "posix":  # other systems cannot open folders
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
