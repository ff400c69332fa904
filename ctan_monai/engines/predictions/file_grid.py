"""Predictions on the grid of a case's source file; masks as PNG."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from ctan_monai.data.cases.cache import read_header
from ctan_monai.data.cases.file_grid import Grid, reorient_to
from ctan_monai.data.cases.resample import Resample
from ctan_monai.data.formats.ct_source import CtSource
from ctan_monai.data.formats.image_masks import write_mask_file
from ctan_monai.engines.predictions.ct_resample import resample_to_ct
from ctan_monai.engines.predictions.prediction_files import arrays_of
from ctan_monai.errors import DataError
from ctan_monai.tasks import Task

Array = np.ndarray[Any, Any]
_NIFTI = ".nii.gz"


def on_native_grid(
    task: Task,
    final: Array,
    logits: Tensor,
    region: Array | None,
    grid: Grid,
    own: Grid,
    numbers: Mapping[str, int] | None = None,
    outside: float = 0.0,
) -> dict[str, Array]:
    """Return the arrays of one case's prediction on its file's grid, by name.

    Where that grid has the network's voxels along other axes, the answer is turned, and no value changes. Where the
    network's voxels have another size, probabilities and values are interpolated, see `resample_to_ct`.

    Args:
        task: a voxel-level task.
        final: (L, *S) masks, or (K, *S) values.
        logits: (K, *S).
        region: (*S) where values count; None for everywhere.
        grid: of these.
        own: the grid to bring them to.
        numbers: of each label in a label map; None counts from 1.
        outside: the value elsewhere.

    Returns:
        See `arrays_of`.
    """
    arrays = arrays_of(task, final, numbers)
    exact = {name: reorient_to(array, grid, own) for name, array in arrays.items()}
    found = {name: array for name, array in exact.items() if array is not None}
    if len(found) == len(arrays):
        return found
    source = CtSource("", own.in_space, own.affine_ras, ())
    there = resample_to_ct([task], {task.name: logits.reshape(-1, *grid.in_space)}, grid.affine_ras, source)
    values = np.stack([own.only_inside(array.reshape(own.shape)) for array in there.arrays_of(task).values()])
    if region is not None:
        way = Resample(grid.affine_ras, own.affine_ras, own.in_space)
        inside = way.mask(region.reshape(grid.in_space).astype(np.float32)).reshape(own.shape)
        values = np.where(inside, values, np.asarray(outside, values.dtype))
    return arrays_of(task, values, numbers)


def write_masks(
    task: Task, arrays: Mapping[str, np.ndarray[Any, Any]], nifti_files: Mapping[str, Path], source: Path | None
) -> dict[str, Path]:
    """Write a mask file for each label of a task.

    Args:
        task: of one without masks nothing is written.
        arrays: (H, W) by label.
        nifti_files: how the NIfTI file of each label is or would be called.
        source: the case's file, which knows the size of the image; without one, or without a size, the grid of the
            network is kept.

    Returns:
        The files by label.

    Raises:
        DataError: the masks are no images, or cannot be written.
    """
    if not task.masks:
        return {}
    shape = None if source is None else full_shape(source)
    written = {}
    for label in task.answer_names:
        path = nifti_files[label].with_name(nifti_files[label].name.removesuffix(_NIFTI) + ".png")
        if arrays[label].ndim != 2:
            found = f"the mask of {label} has the shape {arrays[label].shape}, an image has two axes."
            raise DataError(path, path.parent.name, found, "Write volumes in the format nifti.")
        write_mask_file(arrays[label], path, shape)
        written[label] = path
    return written


def full_shape(source: str | Path) -> tuple[int, int] | None:
    """Return rows and columns of the image that a cached case was read from, None if unknown."""
    return _shape_of(source, "full_shape")


def padded_shape(source: str | Path) -> tuple[int, int] | None:
    """Return the rows and columns that a cached case covers, if its image was padded below or to the right."""
    return _shape_of(source, "padded_shape")


def _shape_of(source: str | Path, entry: str) -> tuple[int, int] | None:
    found = read_header(source).meta.get(entry)
    return None if found is None else (int(found[0]), int(found[1]))
