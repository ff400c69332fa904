"""Write a file so that a reader, or a second writer, never meets half of it."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ctan_monai.errors import DataError


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary name beside a file, and put what was written there into the file's place.

    The data reach the disk before the name changes, so that after a crash the old file or the new one is there.
    If writing fails, the old file stays and the temporary one is removed.

    Args:
        path: the file to write or replace; missing folders are created.

    Yields:
        A name in the same folder, with the same ending, of its own for every writer.

    Raises:
        DataError: the folder cannot be created or written, or the disk is full.
    """
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        suffix = "".join(path.suffixes[-2:]) if path.name.endswith(".gz") else path.suffix
        handle, name = tempfile.mkstemp(prefix=f".{path.name[:80]}.", suffix=suffix, dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        with temporary.open("rb+") as written:
            os.fsync(written.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except OSError as error:
        remedy = "Free space, or give a folder that may be written."
        raise DataError(path, None, f"it cannot be written ({error.strerror or error}).", remedy) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _umask() -> int:
    """Return the umask; mkstemp makes files that nobody else may read, which a shared cache must not be."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
