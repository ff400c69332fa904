"""Check that what is called left lies on the patient's left."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from ctan_monai.data.dicom.read.geometry import Grid
from ctan_monai.data.dicom.read.rasterize import Mask

_MARGIN_MM = 10.0  # a structure this close to the middle may lie on either side
_MIDDLES = ("External", "Prostate", "Bladder", "Rectum", "CTV", "PTV")


def wrong_sides(masks: Mapping[str, Mask], grid: Grid) -> list[str]:
    """List the structures whose names end in _L or _R and that lie on the other side.

    A pair is compared with each other, a single one with the middle of the body or of an organ in the midline.

    Args:
        masks: (rows, columns, slices) by TG-263 name.
        grid: their grid.

    Returns:
        Names, in the order of the masks.
    """
    sided = {name: mask for name, mask in masks.items() if name[-2:] in ("_L", "_R") and mask.any()}
    left_mm = {name: _left_mm(mask, grid) for name, mask in sided.items()}
    middle = _middle_mm(masks, grid)
    wrong = []
    for name, position in left_mm.items():
        other = left_mm.get(name[:-1] + ("R" if name.endswith("L") else "L"), middle)
        if other is None:
            continue
        towards_left = position - other
        if (towards_left if name.endswith("_L") else -towards_left) < -_MARGIN_MM:
            wrong.append(name)
    return wrong


def _middle_mm(masks: Mapping[str, Mask], grid: Grid) -> float | None:
    for name in _MIDDLES:
        if name in masks and masks[name].any():
            return _left_mm(masks[name], grid)
    return None


def _left_mm(mask: npt.NDArray[np.bool_], grid: Grid) -> float:
    """Return how far to the left the center of a structure lies (LPS x)."""
    index = []
    for axis in range(3):
        along = mask.sum(axis=tuple(other for other in range(3) if other != axis), dtype=np.int64)
        index.append(float(along @ np.arange(along.size)) / float(along.sum()))
    return float(grid.to_lps(np.array([index]))[0, 0])
