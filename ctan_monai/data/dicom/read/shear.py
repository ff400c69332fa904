"""Resample sheared stacks of slices, as of a tilted gantry.

The gantry tilts and the table moves on horizontally: the slices' normal is tilted, but each slice starts straight
above the last one, so the stack leans. Shifting every slice within its own plane makes the grid rectangular and
leaves the planes where they are, so contours still lie in them.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from ctan_monai.data.dicom.read.ct_slice import AIR_HU
from ctan_monai.data.dicom.read.geometry import Grid

_NEGLIGIBLE_MM = 0.1  # lean over the whole stack that rounding of positions explains

Hu = npt.NDArray[np.int16]


def straighten(hu: Hu, grid: Grid) -> tuple[Hu, Grid, str]:
    """Resample a sheared stack to a rectangular one.

    Args:
        hu: (slices, rows, columns), slices first.
        grid: its grid, whose third column may lean.

    Returns:
        The stack, wider where it has to hold the shifted slices (air around them), its rectangular grid, and a note
        if it was leaning.
    """
    step = grid.affine_lps[:3, 2]
    lean = step - (step @ grid.normal) * grid.normal  # mm per slice, within the plane
    affine = grid.affine_lps.copy()
    affine[:3, 2] = step - lean
    slices = hu.shape[0]
    if np.linalg.norm(lean) * (slices - 1) < _NEGLIGIBLE_MM:
        affine[:3, 3] += lean * (slices - 1) / 2
        return hu, Grid(grid.shape, affine), ""
    spacing = grid.spacing_mm[:2]
    shifts = [float(lean @ grid.affine_lps[:3, axis]) / spacing[axis] ** 2 for axis in (0, 1)]  # pixels per slice
    before = [math.ceil(max(0.0, -shift * (slices - 1)) - 1e-9) for shift in shifts]
    after = [math.ceil(max(0.0, shift * (slices - 1)) - 1e-9) for shift in shifts]
    shape = tuple(size + low + high for size, low, high in zip(hu.shape[1:], before, after, strict=True))
    straight = np.full((slices, *shape), AIR_HU, np.int16)
    for number in range(slices):
        offset = [round(low + shift * number, 6) for low, shift in zip(before, shifts, strict=True)]
        straight[number] = _placed(hu[number], shape, offset)
    affine[:3, 3] -= affine[:3, 0] * before[0] + affine[:3, 1] * before[1]
    angle = math.degrees(math.atan2(float(np.linalg.norm(lean)), float(np.linalg.norm(step - lean))))
    note = f"tilted gantry: slices were shifted within their planes to straighten the stack ({angle:.1f} degrees)"
    return straight, Grid((shape[0], shape[1], slices), affine), note


def _placed(image: Hu, shape: tuple[int, ...], offset: list[float]) -> Hu:
    """Shift an image by a fraction of pixels in a larger one of air, by linear interpolation."""
    from scipy import ndimage

    whole = [math.floor(number) for number in offset]
    room = np.full(shape, AIR_HU, np.float32)
    room[tuple(slice(at, at + size) for at, size in zip(whole, image.shape, strict=True))] = image
    rest = [number - at for number, at in zip(offset, whole, strict=True)]
    moved = ndimage.shift(room, rest, order=1, mode="constant", cval=AIR_HU, prefilter=False)
    return np.asarray(np.rint(moved), dtype=np.int16)
