"""Cut a box out of a CT and bring it to a grid of one size, a few slices at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as F

from ctan_monai.data.datasets.stoic.chest_scan import AIR_HU, chunks
from ctan_monai.data.datasets.stoic.lungs import Box, Mask


@dataclass(frozen=True)
class Window:
    """The part of a CT that becomes a grid of another size; it may reach beyond the CT, where there is air.

    Args:
        start: first voxel of the CT along rows, columns and slices.
        stop: last voxel + 1.
        shape: of the grid.
    """

    start: tuple[int, int, int]
    stop: tuple[int, int, int]
    shape: tuple[int, int, int]

    @property
    def scale(self) -> npt.NDArray[np.float64]:
        """(3,) voxels of the CT per voxel of the grid."""
        return np.subtract(self.stop, self.start) / np.array(self.shape, np.float64)

    def centers(self, axis: int) -> npt.NDArray[np.float64]:
        """Return where the centers of the grid's voxels lie along an axis, in voxels of the CT."""
        return np.asarray(self.start[axis] + (np.arange(self.shape[axis]) + 0.5) * self.scale[axis] - 0.5)

    def affine(self) -> npt.NDArray[np.float64]:
        """Return the (4, 4) affine from the grid's indices to the CT's."""
        matrix = np.diag([*self.scale, 1.0])
        matrix[:3, 3] = [self.centers(axis)[0] for axis in range(3)]
        return matrix


def window_around(box: Box, spacing_mm: Sequence[float], image_size: tuple[int, int], slice_mm: float | None) -> Window:
    """Return the window that holds a box in slices of a given size, not distorted.

    The box is widened around its middle to the shape of the slices, so that pixels are square; they are as large as
    it takes, another size for each patient. Slices become ``slice_mm`` thick where the CT's are thinner; where they are
    not, they stay as they are.

    Args:
        box: (first, last + 1) of rows, columns and slices.
        spacing_mm: of the CT.
        image_size: rows and columns.
        slice_mm: distance of slices; None keeps those of the CT.
    """
    pixel_mm = max(
        (stop - start) * spacing / size
        for (start, stop), spacing, size in zip(box[:2], spacing_mm[:2], image_size, strict=True)
    )
    sides = []
    for (start, stop), spacing, size in zip(box[:2], spacing_mm[:2], image_size, strict=True):
        wanted = max(round(size * pixel_mm / spacing), stop - start)
        first = round((start + stop - wanted) / 2)
        sides.append((first, first + wanted))
    first, last = box[2]
    depth = last - first
    if slice_mm is not None and spacing_mm[2] < slice_mm:
        depth = max(1, round(depth * spacing_mm[2] / slice_mm))
    return Window((sides[0][0], sides[1][0], first), (sides[0][1], sides[1][1], last), (*image_size, depth))


def resample(hu: npt.NDArray[np.int16], window: Window) -> npt.NDArray[np.int16]:
    """Bring a window to its grid: linear interpolation, with a wider filter where voxels become larger.

    Args:
        hu: (rows, columns, slices) of the CT, read a few slices at a time.
        window: what is wanted.

    Returns:
        int16 of the window's shape; air beyond the CT.
    """
    rows, columns, depth = window.shape
    slices = window.stop[2] - window.start[2]
    small = torch.empty(slices, 1, rows, columns)
    for part in chunks(slices):
        cut = _cut(hu, window, slice(window.start[2] + part.start, window.start[2] + part.stop))  # (n, h, w)
        small[part] = F.interpolate(
            torch.from_numpy(cut)[:, None], size=(rows, columns), mode="bilinear", align_corners=False, antialias=True
        )
    volume = small.movedim(0, 2)  # (1, rows, slices, columns)
    if depth != slices:
        volume = F.interpolate(volume, size=(depth, columns), mode="bilinear", align_corners=False, antialias=True)
    rounded = volume[0].round().to(torch.int16)  # (rows, depth, columns)
    return np.ascontiguousarray(rounded.movedim(1, 2).numpy())


def resample_mask(mask: Mask, steps: Sequence[int], window: Window) -> Mask:
    """Bring a coarse mask of the CT to a window's grid, each voxel the nearest.

    Args:
        mask: of the coarse voxels (`lungs.Found`).
        steps: voxels of the CT per coarse voxel.
        window: of the CT.
    """
    padded = np.pad(mask, 1)  # index 0 and the last: outside
    index = []
    for axis, step in enumerate(steps):
        nearest = np.floor((window.centers(axis) + 0.5) / step).astype(int) + 1
        index.append(np.clip(nearest, 0, padded.shape[axis] - 1))
    return np.ascontiguousarray(padded[np.ix_(*index)])


def _cut(hu: npt.NDArray[np.int16], window: Window, part: slice) -> npt.NDArray[Any]:
    """Return some slices of the window as (n, rows, columns) float32, with air beyond the CT."""
    inside = [
        slice(max(start, 0), min(stop, size))
        for start, stop, size in zip(window.start[:2], window.stop[:2], hu.shape[:2], strict=True)
    ]
    beyond = [
        (side.start - start, stop - side.stop)
        for side, start, stop in zip(inside, window.start[:2], window.stop[:2], strict=True)
    ]
    cut = np.moveaxis(hu[inside[0], inside[1], part], 2, 0).astype(np.float32)
    return np.pad(cut, [(0, 0), *beyond], constant_values=AIR_HU)
