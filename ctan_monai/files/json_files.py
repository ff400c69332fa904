"""Atomic writes of text and JSON files."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ctan_monai.errors import CheckpointError, cannot_write
from ctan_monai.files.atomic import replacing


def cannot_save(path: Path, found: OSError) -> CheckpointError:
    """Create the error for a file of a run that cannot be written; `replacing` keeps the old one."""
    reason = f"it could not be written ({found.strerror or found}); an earlier version is untouched."
    return CheckpointError(path, reason, f"{cannot_write(path, found).remedy} --resume True continues a training.")


def write_text(text: str, path: str | Path) -> None:
    """Write a text file atomically (UTF-8).

    Raises:
        CheckpointError: it could not be written.
    """
    with replacing(Path(path), error=cannot_save) as temporary:
        temporary.write_bytes(text.encode("utf-8", "backslashreplace"))  # a path may hold bytes that are no letters


def write_json(value: Any, path: str | Path) -> None:
    """Write a JSON file atomically; NaN and infinity become null.

    Raises:
        CheckpointError: it could not be written.
    """
    write_text(json.dumps(as_json(value), indent=2, allow_nan=False) + "\n", path)


def read_json(path: Path) -> dict[str, Any] | None:
    """Read a JSON object from a file, None if the file is missing, damaged or something else.

    Returns:
        The object, or None.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def as_json(value: Any) -> Any:
    """Convert a value to JSON values: null for NaN, text for what has no other form."""
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
