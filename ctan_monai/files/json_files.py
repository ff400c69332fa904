"""Files that are either whole or not there: written beside their place, synced, checked, then renamed."""

from __future__ import annotations

import json
import math
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from ctan_monai.errors import CheckpointError, DataError
from ctan_monai.files.atomic import replacing as replacing_path


@contextmanager
def replacing(path: str | Path, previous: str | Path | None = None) -> Iterator[BinaryIO]:
    """Open a file that takes the place of ``path`` once everything is written and on the disk.

    Whatever happens before that moment (an error, a full disk, a kill), the old file stays as it was; after an
    error nothing else stays in the folder either.

    Args:
        path: the file to create or replace; its folder is made if it is missing.
        previous: the replaced file stays under this name, in the same folder.

    Raises:
        CheckpointError: the disk is full, the folder cannot be written, a sync fails.
    """
    target = Path(path)

    def keep() -> None:
        if previous is not None and target.exists():
            add_name(target, Path(previous))

    try:
        with replacing_path(target, before=keep) as temporary, temporary.open("wb") as handle:
            yield handle
    except DataError as error:
        found = error.__cause__
        raise CheckpointError(
            target,
            f"it could not be written ({getattr(found, 'strerror', None) or found}); an earlier version is untouched.",
            f"{error.remedy} --resume True continues a training.",
        ) from found


def write_text(text: str, path: str | Path) -> None:
    """Replace a text file as a whole (UTF-8).

    Raises:
        CheckpointError: it could not be written.
    """
    with replacing(path) as handle:
        handle.write(text.encode("utf-8", "backslashreplace"))  # a path may hold bytes that are no letters


def write_json(value: Any, path: str | Path) -> None:
    """Replace a JSON file as a whole; NaN and infinity, which JSON does not have, become null.

    Raises:
        CheckpointError: it could not be written.
    """
    write_text(json.dumps(as_json(value), indent=2, allow_nan=False) + "\n", path)


def read_json(path: Path) -> dict[str, Any] | None:
    """Read a JSON file that holds an object, where it is no error that it is missing, damaged or something else.

    Returns:
        The object, or None.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def as_json(value: Any) -> Any:
    """Turn a value into what JSON can hold: null for NaN, text for what has no other form."""
    if isinstance(value, Mapping):
        return {str(key): as_json(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_json(entry) for entry in value]
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:  # a number of numpy or torch
        return as_json(value.item())
    return str(value)


def add_name(file: Path, name: Path) -> None:
    """Give a file a second name, replacing what has it; at no moment is there nothing under either name.

    Where the file system has no hard links, the file is renamed instead.
    """
    link = name.with_name(f".{name.name}.part-{secrets.token_hex(4)}")
    try:
        os.link(file, link)
    except OSError:
        os.replace(file, name)
    else:
        os.replace(link, name)
