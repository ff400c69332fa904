"""Reorient and resample a case to the orientation and pixel size of training."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ctan_monai.data.cases.case import Case

_SMOOTHING = 0.35  # standard deviation of the filter before shrinking, in new pixels: half of the usual half width
Array = npt.NDArray[Any]


def mask_center(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Return the center of mass of a mask that is not empty, as continuous indices (axes,)."""
    index = []
    for axis in range(mask.ndim):
        along = mask.sum(axis=tuple(other for other in range(mask.ndim) if other != axis), dtype=np.int64)
        index.append(float(along @ np.arange(along.size)) / float(along.sum()))
    return np.array(index)


def corner_distance_mm(affine_ras: Array, other_ras: Array, shape: Sequence[int]) -> float:
    """Return the largest distance between the corners of a grid under two affines (4, 4), in mm."""
    sides = [*shape, 1][:3]
    corners = np.array(np.meshgrid(*([0, side - 1] for side in sides), [1], indexing="ij")).reshape(4, -1)
    moved = (affine_ras - other_ras) @ corners  # (4, 8)
    return float(np.linalg.norm(moved[:3], axis=0).max())


def reorient(case: Case, axcodes: str | None) -> Case:
    """Permute and flip the axes of a case, voxel values unchanged.

    Args:
        case: three-dimensional.
        axcodes: where each axis shall point, as nibabel names it: OpenKBP's is 'PLI' (anterior to posterior, right
            to left, superior to inferior). None leaves them.

    Returns:
        The case with an affine that maps every voxel to where it was.
    """
    import nibabel as nib

    if axcodes is None or nib.aff2axcodes(case.affine_ras) == tuple(axcodes):
        return case
    _, affine_ras = reoriented(np.broadcast_to(0, case.shape), case.affine_ras, axcodes)

    def turn(array: Array) -> Array:
        return np.ascontiguousarray(reoriented(array, case.affine_ras, axcodes)[0])

    return _mapped(case, turn, turn, affine_ras)


def reoriented(values: Array, affine_ras: Array, axcodes: str | Sequence[str]) -> tuple[Array, npt.NDArray[np.float64]]:
    """Permute and flip the axes of a volume (*S), and return a view of it and its affine; arguments as `reorient`."""
    import nibabel as nib

    wanted = nib.orientations.axcodes2ornt(tuple(axcodes))
    change = nib.orientations.ornt_transform(nib.io_orientation(affine_ras), wanted)
    affine = affine_ras @ nib.orientations.inv_ornt_aff(change, values.shape)
    return nib.orientations.apply_orientation(values, change), np.asarray(affine, np.float64)


def resample_in_plane(case: Case, pixel_mm: float) -> Case:
    """Resample the first two axes to a pixel size; slices are unchanged.

    Args:
        case: three-dimensional.
        pixel_mm: the new size; where it is larger than the old one, volumes are smoothed first.

    Returns:
        The case, volumes interpolated linearly (the CT rounded to int16 again), masks by nearest neighbor. The new
        grid covers the same area, to half a new pixel.
    """
    import SimpleITK as sitk

    factors = [pixel_mm / spacing for spacing in case.spacing_mm[:2]] + [1.0]  # in old voxels
    shape = [max(round(size / factor), 1) for size, factor in zip(case.shape, factors, strict=True)]
    first = [(factor - 1) / 2 for factor in factors]  # center of the first new voxel, in old voxels

    def resample(array: Array, interpolator: int, smooth: bool) -> Array:
        image = sitk.GetImageFromArray(array.T.astype(np.float32))  # sitk index order is the array's own
        if smooth:
            variance = [max(_SMOOTHING * (factor - 1), 0.0) ** 2 for factor in factors]
            image = sitk.DiscreteGaussian(image, variance)
        air = float(array.min())
        image = sitk.Resample(
            image, shape, sitk.Transform(), interpolator, first, factors, np.eye(3).ravel().tolist(), air
        )
        found: Array = sitk.GetArrayFromImage(image).T
        return found

    def volume(array: Array) -> Array:
        found = resample(array, sitk.sitkLinear, smooth=True)
        return np.rint(found).astype(array.dtype) if array.dtype.kind in "iu" else found.astype(array.dtype)

    def mask(array: Array) -> Array:
        return resample(array.astype(np.uint8), sitk.sitkNearestNeighbor, smooth=False) > 0

    change = np.diag([*factors, 1.0])
    change[:3, 3] = first
    return _mapped(case, volume, mask, case.affine_ras @ change)


def _mapped(case: Case, volume: Callable[[Array], Array], mask: Callable[[Array], Array], affine_ras: Array) -> Case:
    return dataclasses.replace(
        case,
        volumes={name: volume(array) for name, array in case.volumes.items()},
        masks={name: mask(array) for name, array in case.masks.items()},
        affine_ras=affine_ras,
    )
