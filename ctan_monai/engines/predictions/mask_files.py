"""Predicted masks of images as PNG, in the size of the images' own files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ctan_monai.data.cases.cache import read_header
from ctan_monai.data.formats.image_masks import write_picture_mask
from ctan_monai.errors import DataError
from ctan_monai.tasks import Segmentation, Task

_NIFTI = ".nii.gz"


def write_masks(
    task: Task, arrays: Mapping[str, np.ndarray[Any, Any]], nifti_files: Mapping[str, Path], source: Path | None
) -> dict[str, Path]:
    """Write the mask of each label of a task.

    Args:
        task: a Segmentation; of others nothing is written.
        arrays: (H, W) by label.
        nifti_files: how the NIfTI file of each label is or would be called.
        source: the case's file, which knows the size of the image; without one, or without a size, the grid of the
            network is kept.

    Returns:
        The files by label.

    Raises:
        DataError: the masks are no images, or cannot be written.
    """
    if not isinstance(task, Segmentation):
        return {}
    shape = None if source is None else full_shape(source)
    written = {}
    for label in task.labels:
        path = nifti_files[label].with_name(nifti_files[label].name.removesuffix(_NIFTI) + ".png")
        if arrays[label].ndim != 2:
            found = f"the mask of {label} has the shape {arrays[label].shape}, an image has two axes."
            raise DataError(path, path.parent.name, found, "Write volumes in the format nifti.")
        write_picture_mask(arrays[label], path, shape)
        written[label] = path
    return written


def full_shape(source: str | Path) -> tuple[int, int] | None:
    """Return rows and columns of the image that a cached case was read from, None if it does not say."""
    found = read_header(source).meta.get("full_shape")
    return None if found is None else (int(found[0]), int(found[1]))
