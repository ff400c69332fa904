"""Write a file so that a reader, or a second writer, never meets half of it."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from ctan_monai.errors import cannot_write

_MARK = ".part-"  # in the name of a file that is being written


@contextlib.contextmanager
def replacing(path: Path, before: Callable[[], None] | None = None) -> Iterator[Path]:
    """Give a temporary name beside a file, and put what was written there into the file's place.

    The data reach the disk before the name changes, and the change reaches it too, so that after a crash the old file
    or the new one is there. If writing fails, the old file stays and the temporary one is removed.

    Args:
        path: the file to write or replace; missing folders are created.
        before: called when all is written, just before the name changes.

    Yields:
        A name in the same folder, with the same ending, of its own for every writer.

    Raises:
        DataError: the folder cannot be created or written, or the disk is full.
    """
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        suffix = "".join(path.suffixes[-2:]) if path.name.endswith(".gz") else path.suffix
        handle, name = tempfile.mkstemp(prefix=f".{path.name[:80]}{_MARK}", suffix=suffix, dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        with temporary.open("rb+") as written:
            os.fsync(written.fileno())
        temporary.chmod(0o666 & ~umask())
        if before is not None:
            before()
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def remove_leftovers(folder: str | Path) -> None:
    """Delete the half-written files that a killed process left in a folder which nobody else is writing to."""
    for leftover in Path(folder).glob(f".*{_MARK}*"):
        leftover.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Put the renaming itself on the disk; without this a power cut can undo it."""
    if os.name != "posix":  # other systems cannot open folders
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def umask() -> int:
    """Return the umask; mkstemp makes files that nobody else may read, which a shared cache must not be."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
