"""Find the lungs in a CT, or else the body: thresholds and connected components on a coarse copy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

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
    """Where the lungs are, or the body.

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
    lungs = _lungs(smooth, body, float(np.prod(voxel_mm)) / 1000)
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


def _lungs(smooth: npt.NDArray[np.float32], body: Mask, voxel_ml: float) -> Mask:
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
