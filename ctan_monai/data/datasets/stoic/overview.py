"""Overview images of the whole CT with the cropped box, kept in a case's meta."""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ctan_monai.aliases import current_record
from ctan_monai.data.datasets.stoic.crop import Found, Window

OVERVIEW = "overview"  # in a case's meta
_WINDOW_HU = (-1350.0, 150.0)  # lungs: level -600, width 1500
_LONGEST = 96  # pixels
_GRAY = 255


@dataclass(frozen=True, eq=False)
class Overview:
    """One plane of a CT.

    Args:
        gray: (rows, columns) uint8.
        sides_mm: height and width.
        box_mm: of what was cut out: top, bottom, left, right, in mm from the plane's upper left corner.
    """

    gray: npt.NDArray[np.uint8]
    sides_mm: tuple[float, float]
    box_mm: tuple[float, float, float, float]


def overview_meta(found: Found, window: Window, spacing_mm: tuple[float, float, float]) -> dict[str, Any]:
    """Return the axial and the coronal plane through the center of a window, as JSON values."""
    middle = [
        (start + stop) // 2 // step for start, stop, step in zip(window.start, window.stop, found.steps, strict=True)
    ]
    row, _, index = (min(max(at, 0), size - 1) for at, size in zip(middle, found.coarse_hu.shape, strict=True))
    coarse_mm = [step * size for step, size in zip(found.steps, spacing_mm, strict=True)]
    start_mm, stop_mm = (np.array(ends) * spacing_mm for ends in (window.start, window.stop))
    top_mm = found.coarse_hu.shape[2] * coarse_mm[2]  # slices run upwards, rows of an image downwards
    return {
        "axial": _packed(
            found.coarse_hu[..., index], coarse_mm[:2], (start_mm[0], stop_mm[0], start_mm[1], stop_mm[1])
        ),
        "coronal": _packed(
            found.coarse_hu[row].T[::-1],
            [coarse_mm[2], coarse_mm[1]],
            (top_mm - stop_mm[2], top_mm - start_mm[2], start_mm[1], stop_mm[1]),
        ),
    }


def read_overview(meta: Mapping[str, Any]) -> dict[str, Overview]:
    """Return the planes by name, none where a case has none."""
    found = {}
    for name, plane in (meta.get(OVERVIEW) or {}).items():
        try:
            plane = current_record(plane)
            gray = np.frombuffer(zlib.decompress(base64.b64decode(plane["gray"])), np.uint8).reshape(plane["shape"])
            found[name] = Overview(gray, tuple(plane["sides_mm"]), tuple(plane["box_mm"]))
        except (AttributeError, KeyError, TypeError, ValueError, binascii.Error, zlib.error):  # an image less
            continue
    return found


def _packed(plane: npt.NDArray[np.int16], pixel_mm: list[float], box_mm: tuple[float, ...]) -> dict[str, Any]:
    low, high = _WINDOW_HU
    step = max(1, -(-max(plane.shape) // _LONGEST))
    gray = np.clip((plane[::step, ::step] - low) / (high - low), 0, 1) * _GRAY
    return {
        "gray": base64.b64encode(zlib.compress(gray.astype(np.uint8).tobytes(), 9)).decode("ascii"),
        "shape": list(gray.shape),
        "sides_mm": [round(size * pixel, 2) for size, pixel in zip(plane.shape, pixel_mm, strict=True)],
        "box_mm": [round(float(at), 2) for at in box_mm],
    }
