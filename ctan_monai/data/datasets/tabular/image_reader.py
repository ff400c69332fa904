"""Read a case of images: one in colors, or one for each channel, with the labels on its pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ctan_monai.data.cases.case import Case
from ctan_monai.data.cases.file_grid import OWN_GRID, Grid
from ctan_monai.data.datasets.tabular.files import is_picture, read_values
from ctan_monai.data.datasets.tabular.labels import split_map
from ctan_monai.data.datasets.tabular.layout import Layout
from ctan_monai.data.datasets.tabular.rows import Row
from ctan_monai.data.datasets.tabular.values import BLANK, NOTES, STATISTICS, compact, digest_of, statistics_of
from ctan_monai.data.formats.image_masks import (
    check_shape,
    note_of_turn,
    read_gray,
    read_inside,
    read_label_numbers,
    shrunk_mask,
)
from ctan_monai.data.formats.images import PICTURE_SUFFIXES, picture_affine_ras, read_picture
from ctan_monai.data.lists.leakage import fingerprint_meta
from ctan_monai.errors import DataError

Array = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]


def read_picture_case(row: Row, layout: Layout) -> Case:
    """Read a case of images.

    Raises:
        DataError: a file cannot be read, or does not have the size of its image.
    """
    volumes, full_shape, fingerprint = _channels(row, layout)
    size = layout.size or full_shape

    def fitting(values: Array, path: Path) -> Array:
        check_shape(values.shape, full_shape, path, row.case)
        return values

    labels = [*row.masks.values(), *row.maps.values()]
    for path in labels:
        if not is_picture(path):
            reason = f"it does not end in one of {PICTURE_SUFFIXES}, as its image."
            raise DataError(path, row.case, reason, "Convert it to PNG.")
    masks = {name: fitting(read_inside(path, row.case), path) for name, path in row.masks.items()}
    for task in layout.segmentations:
        if task.name in row.maps:
            path = row.maps[task.name]
            values = fitting(read_label_numbers(path, row.case), path)
            masks.update(split_map(values, layout.numbers_of(task), path, row.case))
    for name, path in row.volumes.items():
        volumes[name] = _resized(fitting(read_values(path, row.case), path), size)
    masks = {name: shrunk_mask(mask, size) for name, mask in masks.items()}
    notes = [note for path in labels if (note := note_of_turn(row.images[0], path, full_shape))]
    own = Grid(full_shape, picture_affine_ras(full_shape, full_shape)).to_meta()
    about = {STATISTICS: statistics_of(volumes, layout), "full_shape": list(full_shape), NOTES: notes, OWN_GRID: own}
    return Case(
        row.case, volumes, masks, picture_affine_ras(full_shape, size), dict(row.values), {**fingerprint, **about}
    )


def _channels(row: Row, layout: Layout) -> tuple[dict[str, Array], tuple[int, int], dict[str, Any]]:
    """Return the channels at their final size, rows and columns of the file, and what the image is known by."""
    channels = layout.image_channels
    if layout.color:
        picture = read_picture(row.images[0], row.case, layout.size)
        volumes: dict[str, Array] = {name: picture.rgb[..., at].copy() for at, name in enumerate(channels)}
        fingerprint = fingerprint_meta(None, row.group, picture.sha256, picture.thumbnail, picture.mean_rgb)
        return volumes, picture.full_shape, fingerprint
    if len(row.images) != len(channels):
        reason = f"it is one image for the channels {', '.join(channels)}."
        raise DataError(row.images[0], row.case, reason, "Name an image for each channel.")
    values = {name: _gray_of(path, row.case) for name, path in zip(channels, row.images, strict=True)}
    shapes = {name: each.shape for name, each in values.items()}
    if len(set(shapes.values())) > 1:
        raise DataError(row.images[0], row.case, f"its channels have the shapes {shapes}.", "Give one size to all.")
    rows, columns = shapes[channels[0]]
    size = layout.size or (rows, columns)
    found = {name: compact(np.rint(_resized(each, size))) for name, each in values.items()}
    return found, (rows, columns), fingerprint_meta(None, row.group, digest_of(values), BLANK)


def _gray_of(path: Path, case: str) -> Array:
    """Read a channel; an image in colors counts by its brightness."""
    try:
        return read_gray(path, case)
    except DataError:
        rgb = read_picture(path, case).rgb.astype(np.float32)
        return np.asarray(np.rint(rgb @ np.array([0.299, 0.587, 0.114], np.float32)), np.int32)  # ITU-R BT.601


def _resized(values: Array, size: tuple[int, int]) -> npt.NDArray[np.float32]:
    from PIL import Image

    image = Image.fromarray(np.asarray(values, np.float32))
    if values.shape == size:
        return np.array(image)
    return np.array(image.resize((size[1], size[0]), Image.Resampling.BILINEAR))  # widens the filter when it shrinks
