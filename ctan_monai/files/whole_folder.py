"""Atomic writes of folders."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from ctan_monai.errors import DataError, cannot_write

SYNTHETIC_MARK = "SYNTHETIC.txt"  # says what a folder of drawn images holds
INDEX_FILE = "cases.json"  # where it is, a folder holds predictions, see engines.predictions.predictions_index
PREDICTIONS = "ctan_monai predictions"  # what its format is called


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


def write_synthetic(folder: str | Path, key: Sequence[int | str], draw: Callable[[Path], None]) -> Path:
    """Write a folder of drawn images atomically unless it exists, and mark it as synthetic.

    Args:
        folder: ``<folder>-<key>-<key> ...`` is made.
        key: what the images depend on, such as version and seed.
        draw: writes them into a folder that it is given.

    Returns:
        The folder.

    Raises:
        DataError: it cannot be written, or something else has its name.
    """

    def fill(draft: Path) -> None:
        draw(draft)
        (draft / SYNTHETIC_MARK).write_text("Drawn by ctan_monai. These images show no patient.\n", encoding="utf-8")

    return write_whole(Path("-".join(map(str, (folder, *key)))), SYNTHETIC_MARK, fill)
