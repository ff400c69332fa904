"""Atomic writes of folders."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from ctan_monai.errors import DataError, cannot_write


def write_whole(target: Path, mark: str, fill: Callable[[Path], None]) -> Path:
    """Write a folder atomically unless it exists; several processes may do so at once.

    Args:
        target: the folder.
        mark: a file that ``fill`` writes, by which a whole folder is known.
        fill: writes everything into a folder that it is given.

    Returns:
        The folder.

    Raises:
        DataError: it cannot be written, or something else has its name.
    """
    if (target / mark).is_file():
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        try:
            fill(draft)
            draft.chmod(0o755)  # mkdtemp's is for this user alone
            with contextlib.suppress(OSError):  # another process was faster
                os.rename(draft, target)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    except OSError as error:
        raise cannot_write(target, error) from error
    if not (target / mark).is_file():
        raise DataError(target, None, f"it is there already, without {mark}.", "Remove it.")
    return target
