"""What is the same for gray values of images and of volumes: how they are kept, told apart and described."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ctan_monai.data.datasets.tabular.layout import Layout
from ctan_monai.data.formats.images import THUMBNAIL_SIDE

Array = npt.NDArray[Any]
STATISTICS = "statistics"  # in a case's meta: mean and standard deviation of each channel, over voxels that are not 0
NOTES = "notes"  # in a case's meta: what is doubtful about its files
BLANK = np.zeros((THUMBNAIL_SIDE, THUMBNAIL_SIDE), np.int8)  # thumbnails tell color images apart, nothing else
HALF = 0.5  # of a voxel, from which on it is inside
_INT16 = np.iinfo(np.int16)


def compact(values: Array) -> Array:
    """Return whole numbers as int16 where they fit, fractions as float32."""
    if values.dtype.kind == "f" and not bool((values == np.rint(values)).all()):
        return np.ascontiguousarray(values, np.float32)
    low, high = float(values.min()), float(values.max())
    fits = low >= _INT16.min and high <= _INT16.max
    return np.ascontiguousarray(values, np.int16 if fits else np.float32)


def statistics_of(volumes: Mapping[str, Array], layout: Layout) -> dict[str, list[float]]:
    """Return mean and standard deviation of each channel over the voxels that are not 0, for z-scores."""
    found = {}
    for name in layout.image_channels:
        values = volumes[name][volumes[name] != 0].astype(np.float64)
        deviation = float(values.std()) if values.size else 0.0
        found[name] = [float(values.mean()) if values.size else 0.0, deviation or 1.0]
    return found


def digest_of(channels: Mapping[str, Array]) -> str:
    """Return a digest of what is seen, whatever format it was stored in."""
    state = hashlib.sha256()
    for values in channels.values():
        state.update(repr(values.shape).encode())
        state.update(compact(values).tobytes())
    return state.hexdigest()
