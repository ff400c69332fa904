"""Find the lungs by thresholds, crop a CT to their box and resample it to a grid of fixed size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as F

from ctan_monai.data.datasets.stoic.chest_scan import AIR_HU, chunks

Mask = npt.NDArray[np.bool_]
Box = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]

COARSE_MM = 3.0
_BODY_HU, _LUNG_HU = -500.0, -400.0
_SMOOTHING = 0.7  # coarse voxels; every voxel of the coarse copy is a single one of the CT, with all its noise
_LUNG_MEAN_HU = (-980.0, -500.0)  # air between arm and chest, or in a stomach, is darker than any lung
_PART_OF_LARGEST = 0.1  # smaller pieces are airways, bowel, noise
_LUNGS_ML = (300.0, 12_000.0)
_SLICE_SHARE = 0.1  # of the largest area: slices with less are airways above, or recesses below
_MARGIN_MM = 10.0


@dataclass(frozen=True, eq=False)
class Found:
    """The box of the lungs, or of the body.

    Args:
        kind: what was found; 'image': neither.
        box: (first, last + 1) of rows, columns and slices of the CT.
        coarse_hu: every so many voxels of the CT.
        lungs: of the coarse voxels; None where no lungs were found.
        steps: voxels of the CT per coarse voxel; coarse voxel i is voxel i * step + step // 2.
        volume_ml: of the lungs.
    """

    kind: Literal["lungs", "body", "image"]
    box: Box
    coarse_hu: npt.NDArray[np.int16]
    lungs: Mask | None
    steps: tuple[int, int, int]
    volume_ml: float


def find_lungs(hu: npt.NDArray[np.int16], spacing_mm: tuple[float, float, float]) -> Found:
    """Find the box around the lungs.

    The body is the largest piece brighter than -500 HU, its holes filled in each axial slice; lungs are the large
    dark pieces within. Slices count from the first to the last in which the lungs cover a tenth of their largest
    area, so that windpipe and recesses do not; within, the box has a margin of 10 mm. Where there is nothing like
    lungs, the box is that of the body.

    Args:
        hu: (rows, columns, slices), rows to the back.
        spacing_mm: of the voxels.
    """
    from scipy import ndimage

    steps = tuple(max(1, int(COARSE_MM / spacing)) for spacing in spacing_mm)
    coarse = np.ascontiguousarray(hu[tuple(slice(step // 2, None, step) for step in steps)])
    voxel_mm = [step * spacing for step, spacing in zip(steps, spacing_mm, strict=True)]
    smooth = ndimage.gaussian_filter(coarse.astype(np.float32), _SMOOTHING)
    body = _body(smooth)
    lungs = _lungs(smooth, body)
    volume_ml = float(lungs.sum() * np.prod(voxel_mm) / 1000)
    if _LUNGS_ML[0] <= volume_ml <= _LUNGS_ML[1]:
        lungs = _in_main_slices(lungs)
        margins = [int(np.ceil(_MARGIN_MM / size)) for size in voxel_mm[:2]] + [0]
        box = _box(lungs, margins, steps, hu.shape)
        return Found("lungs", box, coarse, lungs, (steps[0], steps[1], steps[2]), volume_ml)
    kind: Literal["body", "image"] = "body" if body.any() else "image"
    box = _box(body if body.any() else np.ones_like(body), [0, 0, 0], steps, hu.shape)
    return Found(kind, box, coarse, None, (steps[0], steps[1], steps[2]), volume_ml)


def _body(smooth: npt.NDArray[np.float32]) -> Mask:
    """Return the patient without the couch, holes filled slice by slice."""
    from scipy import ndimage

    bright = ndimage.binary_opening(smooth > _BODY_HU, iterations=1)
    labels, count = ndimage.label(bright)
    if not count:
        return np.zeros(smooth.shape, np.bool_)
    sizes = np.bincount(labels.ravel())[1:]
    body = labels == 1 + int(sizes.argmax())
    for index in range(body.shape[2]):
        body[..., index] = ndimage.binary_fill_holes(body[..., index])
    return np.asarray(body)


def _lungs(smooth: npt.NDArray[np.float32], body: Mask) -> Mask:
    """Return the dark pieces within the body that are large enough and not as dark as air."""
    from scipy import ndimage

    labels, count = ndimage.label((smooth < _LUNG_HU) & body)
    if not count:
        return np.zeros(body.shape, np.bool_)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    means = ndimage.mean(smooth, labels, index=np.arange(1, count + 1))
    like_lung = (_LUNG_MEAN_HU[0] <= means) & (means <= _LUNG_MEAN_HU[1])
    largest = sizes[like_lung].max(initial=0)
    kept = 1 + np.flatnonzero(like_lung & (sizes >= _PART_OF_LARGEST * largest) & (largest > 0))
    lungs = np.isin(labels, kept)
    return np.asarray(ndimage.binary_closing(lungs, iterations=2) | lungs)  # vessels, dense patches


def _in_main_slices(lungs: Mask) -> Mask:
    areas = lungs.sum(axis=(0, 1))
    main = np.flatnonzero(areas >= _SLICE_SHARE * areas.max())
    found = np.zeros_like(lungs)
    found[..., main[0] : main[-1] + 1] = lungs[..., main[0] : main[-1] + 1]
    return found


def _box(mask: Mask, margins: list[int], steps: Any, shape: tuple[int, ...]) -> Box:
    """Return the box around a coarse mask in voxels of the CT."""
    sides = []
    for axis, (margin, step, size) in enumerate(zip(margins, steps, shape, strict=True)):
        held = np.flatnonzero(mask.any(axis=tuple({0, 1, 2} - {axis})))
        first, last = max(int(held[0]) - margin, 0), int(held[-1]) + margin
        sides.append((first * step, size if last + 1 >= mask.shape[axis] else (last + 1) * step))
    return sides[0], sides[1], sides[2]


@dataclass(frozen=True)
class Window:
    """The part of a CT that is resampled to a grid; it may reach beyond the CT, where there is air.

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
        """Return the centers of the grid's voxels along an axis, in voxels of the CT."""
        return np.asarray(self.start[axis] + (np.arange(self.shape[axis]) + 0.5) * self.scale[axis] - 0.5)

    def affine(self) -> npt.NDArray[np.float64]:
        """Return the affine (4, 4) from the grid's indices to the CT's."""
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
    """Resample a window to its grid by linear interpolation, antialiased where voxels become larger.

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
    """Resample a coarse mask of the CT to a window's grid by nearest neighbor.

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
