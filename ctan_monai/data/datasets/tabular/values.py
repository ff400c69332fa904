"""Storage type and statistics of intensities; labels in a table's cells."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ctan_monai.data.datasets.tabular.layout import Layout
from ctan_monai.data.formats.images import THUMBNAIL_SIDE
from ctan_monai.tasks import Classification, Regression, Task

Array = npt.NDArray[Any]
STATISTICS = "statistics"  # in a case's meta: mean and standard deviation of each channel, over voxels that are not 0
NOTES = "notes"  # in a case's meta: what is doubtful about its files
BLANK = np.zeros((THUMBNAIL_SIDE, THUMBNAIL_SIDE), np.int8)  # thumbnails tell color images apart, nothing else
HALF = 0.5  # of a voxel, from which on it is inside
_INT16 = np.iinfo(np.int16)
SEPARATOR = "|"  # between several classes of a case, because commas and semicolons separate columns
_YES = {"1", "yes", "true", "positive", "present"}
_NO = {"0", "no", "false", "negative", "absent"}
_NONE = "none"

Value = float | int | list[float]


def compact(values: Array) -> Array:
    """Convert whole numbers to int16 where they fit, fractions to float32."""
    if values.dtype.kind == "f" and not bool((values == np.rint(values)).all()):
        return np.ascontiguousarray(values, np.float32)
    low, high = float(values.min()), float(values.max())
    fits = low >= _INT16.min and high <= _INT16.max
    return np.ascontiguousarray(values, np.int16 if fits else np.float32)


def statistics_of(volumes: Mapping[str, Array], layout: Layout) -> dict[str, list[float]]:
    """Compute mean and standard deviation of each channel over the voxels that are not 0, for z-scores."""
    found = {}
    for name in layout.image_channels:
        values = volumes[name][volumes[name] != 0].astype(np.float64)
        std = float(values.std()) if values.size else 0.0
        found[name] = [float(values.mean()) if values.size else 0.0, std or 1.0]
    return found


def digest_of(channels: Mapping[str, Array]) -> str:
    """Compute a digest of an image's content, independent of the file format."""
    state = hashlib.sha256()
    for values in channels.values():
        state.update(repr(values.shape).encode())
        state.update(compact(values).tobytes())
    return state.hexdigest()


def read_value(task: Task, cell: Any) -> Value:
    """Parse an image-level label to the value of `Case.values`.

    Args:
        task: a Classification, or a Regression with one value per image.
        cell: a class by name or index; for a single class yes or no; for classes that can hold together their names
            joined by ``|``, or ``none``; a number in the task's unit for a Regression. Not empty.

    Returns:
        The index of the class; 0 or 1 per class if they do not exclude each other; the number.

    Raises:
        ValueError: it is none of these; says what was found and what was expected.
    """
    if isinstance(task, Regression):
        return _number(task, cell)
    if not isinstance(task, Classification):
        raise ValueError(f"{task.name} has no label for the whole image")
    if task.exclusive:
        return class_index(task.classes, cell)
    if len(task.classes) == 1:
        return [float(_finding(task.classes[0], cell))]
    return _findings(task.classes, cell)


def class_index(classes: Sequence[str], cell: Any) -> int:
    """Return the index of a class that is given by its name, in any case, or by its index.

    >>> class_index(["low", "high"], "High"), class_index(["low", "high"], 1), class_index(["2", "3"], "3")
    (1, 1, 1)

    Raises:
        ValueError: it is neither.
    """
    text = _plain(cell)
    if text in classes:
        return list(classes).index(text)
    folded = [name.lower() for name in classes]
    if folded.count(text.lower()) == 1:
        return folded.index(text.lower())
    named_by_numbers = any(name.isdecimal() for name in classes)
    if text.isdecimal() and int(text) < len(classes) and not named_by_numbers:
        return int(text)
    indices = "" if named_by_numbers else f", or an index from 0 to {len(classes) - 1}"
    raise ValueError(f"{cell!r} is no class; expected one of {', '.join(classes)}{indices}")


def _finding(name: str, cell: Any) -> bool:
    text = _plain(cell).lower()
    if text in _YES or text == name.lower():
        return True
    if text in _NO or text == _NONE:
        return False
    raise ValueError(f"{cell!r} is neither yes nor no; expected 1 or 0, yes or no, true or false")


def _findings(classes: Sequence[str], cell: Any) -> list[float]:
    names = cell if isinstance(cell, list) else str(cell).split(SEPARATOR)
    if [_plain(name).lower() for name in names] in ([_NONE], []):
        return [0.0] * len(classes)
    held = {class_index(classes, name) for name in names}
    return [float(at in held) for at in range(len(classes))]


def _number(task: Regression, cell: Any) -> float:
    try:
        if isinstance(cell, bool) or "_" in str(cell):  # Python reads 1_000 as 1000
            raise TypeError
        value = float(cell)
    except (TypeError, ValueError):
        hint = "; write a point, not a comma" if "," in str(cell) else ""
        raise ValueError(f"{cell!r} is no number in {task.unit}{hint}") from None
    if not math.isfinite(value):
        raise ValueError(f"{cell!r} is not finite; leave the cell empty if it is not known")
    return value


def _plain(cell: Any) -> str:
    """Convert a cell to text; 2.0, which spreadsheets make of 2 beside an empty cell, to 2."""
    if isinstance(cell, bool):
        return "1" if cell else "0"
    text = str(cell).strip()
    return text[:-2] if text.endswith(".0") and text[:-2].isdecimal() else text
