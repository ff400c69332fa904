"""Locks of folders: one process at a time."""

from __future__ import annotations

import errno
import logging
import os
from pathlib import Path
from typing import BinaryIO

from ctan_monai.errors import ConfigError, CtanError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]  # then nothing is locked

_logger = logging.getLogger(__name__)
LOCK_FILE = ".lock"
_held: dict[Path, BinaryIO] = {}


def hold(folder: Path, taken: CtanError | None = None) -> None:
    """Lock a folder until it is released or this process ends.

    The lock is one of POSIX (lockf): the system drops it with the process, and workers that were forked and outlive
    a killed training do not keep it.

    Args:
        folder: it gets a file ``.lock``.
        taken: what is raised if another process holds it; None for an error about a training.

    Raises:
        ConfigError: another process holds it.
    """
    if fcntl is None or _is_held(folder):
        return
    handle = (folder / LOCK_FILE).open("a+b")
    try:
        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        handle.close()
        if error.errno in (errno.EACCES, errno.EAGAIN):
            reason = f"another training is running in {folder}."
            raise taken or ConfigError("--output_dir", reason, "Wait for it, or give another folder.") from error
        _logger.debug("%s cannot be locked (%s).", folder, error)  # a network drive without locks
        return
    _held[folder.absolute()] = handle


def release(folder: Path) -> None:
    """Release a lock if it is held; ``folder`` is the name under which it was taken."""
    handle = _held.pop(folder.absolute(), None)
    if handle is not None:
        handle.close()


def _is_held(folder: Path) -> bool:
    """Tell whether this process holds the folder that has this name now, not one that has been renamed."""
    handle, path = _held.get(folder.absolute()), folder / LOCK_FILE
    return handle is not None and path.exists() and os.path.samestat(os.fstat(handle.fileno()), path.stat())
