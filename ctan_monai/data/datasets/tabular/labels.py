"""Masks by label from label maps and masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ctan_monai.errors import DataError

Array = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]
_SHOWN = 5
_ROUNDING = 1e-4


def split_map(values: Array, numbers: Mapping[str, Sequence[int]], path: Path, case: str) -> dict[str, Mask]:
    """Split a label map into one mask per label; 0 is background.

    Args:
        values: (*S), whole numbers; see `whole_numbers`.
        numbers: by label; several numbers make a group, and a number may be in several.
        path: for the message.
        case: for the message.

    Raises:
        DataError: a value is no label's, or no whole number.
    """
    values = whole_numbers(values)
    found = _values_of(values)
    every = {number for group in numbers.values() for number in group}
    unknown = sorted(value for value in found if value != 0 and value not in every)
    if unknown:
        known = ", ".join(f"{'+'.join(map(str, group))} {label}" for label, group in numbers.items())
        listed = ", ".join(f"{value:g}" for value in unknown[:_SHOWN]) + (" ..." if len(unknown) > _SHOWN else "")
        reason = f"the label map holds {listed}, expected 0 and {known}."
        raise DataError(path, case, reason, "Correct it, or the label's number in the config's label_values.")
    return {label: np.isin(values, group) for label, group in numbers.items()}


def inside_of(values: Array, path: Path, case: str) -> Mask:
    """Return the mask of one structure from a volume that holds 0 and one other value.

    Raises:
        DataError: it holds more values.
    """
    values = whole_numbers(values)
    found = _values_of(values)
    if len(found - {0}) > 1:
        listed = ", ".join(f"{value:g}" for value in sorted(found)[:_SHOWN])
        reason = f"the mask holds {listed}{' ...' if len(found) > _SHOWN else ''}, expected 0 and one other value."
        raise DataError(path, case, reason, "Give a mask of one structure; a label map has the column of its task.")
    return np.asarray(values != 0)


def whole_numbers(values: Array) -> Array:
    """Round values that are within 1e-4 of whole numbers, as scaled headers and float32 leave 0.99999.

    Values that would all become 0 stay what they are.
    """
    if values.dtype.kind in "iub":
        return values
    near = np.rint(values)
    close = bool((np.abs(values - near) <= _ROUNDING).all())
    return near if close and (near.any() or not values.any()) else values


def _values_of(values: Array) -> set[float]:
    """Return the values that occur; quick where there are few in many voxels."""
    whole = values.dtype.kind in "iu" or bool((values == np.rint(values)).all())
    if whole and float(values.min()) >= 0 and float(values.max()) < 2**16:
        counts = np.bincount(values.astype(np.int64).ravel())
        return {float(value) for value in np.flatnonzero(counts)}
    return {float(value) for value in np.unique(values)}
