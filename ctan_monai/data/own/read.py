"""Read the files of a case, and bring them to one grid."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ctan_monai.data.cases import Case
from ctan_monai.data.leakage import trace_meta
from ctan_monai.data.own.files import (
    is_picture,
    read_grey,
    read_picture_inside,
    read_values,
    read_volumes,
)
from ctan_monai.data.own.grids import VolumeGrid, resample
from ctan_monai.data.own.labels import inside_of, split_map
from ctan_monai.data.own.layout import Layout
from ctan_monai.data.own.rows import Row
from ctan_monai.data.pictures import THUMBNAIL_SIDE, picture_affine_ras, read_picture
from ctan_monai.errors import DataError

_logger = logging.getLogger(__name__)
READER_VERSION = "own-1"  # raise it when the same files give another case: caches are rebuilt
STATISTICS = "statistics"  # in a case's meta: mean and standard deviation of each channel, over voxels that are not 0
_INT16 = np.iinfo(np.int16)
_HALF = 0.5
_BLANK = np.zeros((THUMBNAIL_SIDE, THUMBNAIL_SIDE), np.int8)  # thumbnails tell colour pictures apart, nothing else

Array = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]


def read_case(row: Row, layout: Layout) -> Case:
    """Read a case.

    Args:
        row: its files and labels.
        layout: what is wanted of them.

    Returns:
        A case with a volume per channel of the image and per voxel-level regression that is known, and a mask per
        label and region that is known. Its ``meta`` says where else it could be met (`leakage.trace_meta`), what its
        grey values are like, and how large a picture's file is.

    Raises:
        DataError: a file cannot be read, does not lie on the image's grid, or holds what its task cannot have.
    """
    case = _read(row, layout)
    if all(volume.min() == volume.max() for volume in (case.volumes[name] for name in layout.image_channels)):
        raise DataError(row.images[0], row.case, "it is the same everywhere.", "Give an image that shows something.")
    return dataclasses.replace(case, meta={**case.meta, "synthetic": True}) if row.synthetic else case


def _read(row: Row, layout: Layout) -> Case:
    if is_picture(row.images[0]):
        if layout.spatial_dims == 3:
            reason = "it is a picture, but the network takes volumes."
            raise DataError(row.images[0], row.case, reason, "Give volumes, or make a bundle of --spatial-dims 2.")
        return _read_picture_case(row, layout)
    if layout.colour:
        reason = "it is no picture, but the image's channels are red, green and blue."
        raise DataError(row.images[0], row.case, reason, "Give JPEG or PNG, or other image_channels.")
    if layout.size is not None:
        reason = f"it is no picture, but pictures of the size {list(layout.size)} are wanted."
        raise DataError(row.images[0], row.case, reason, "Give JPEG or PNG, or make a bundle with --image ct or mr.")
    return _VolumeCase(row, layout).read()


# ---- pictures


def _read_picture_case(row: Row, layout: Layout) -> Case:
    volumes, full_shape, digest, thumbnail = _picture_channels(row, layout)
    size = layout.size or full_shape

    def fitting(values: Array, path: Path) -> Array:
        if values.shape != full_shape:
            found = f"it has {values.shape[0]} rows and {values.shape[1]} columns, its picture {full_shape[0]} and "
            raise DataError(path, row.case, f"{found}{full_shape[1]}.", "Give the label of this picture.")
        return values

    masks = {name: fitting(read_picture_inside(path, row.case), path) for name, path in row.masks.items()}
    for task in layout.segmentations:
        if task.name in row.maps:
            path = row.maps[task.name]
            values = fitting(read_grey(path, row.case), path)
            masks.update(split_map(values, layout.numbers_of(task), path, row.case))
    for name, path in row.volumes.items():
        volumes[name] = _resized(fitting(read_values(path, row.case), path), size)
    masks = {name: _resized_mask(mask, size) for name, mask in masks.items()}
    trace = trace_meta(None, row.group, digest, thumbnail)
    meta = {**trace, STATISTICS: _statistics(volumes, layout), "full_shape": list(full_shape)}
    return Case(row.case, volumes, masks, picture_affine_ras(full_shape, size), dict(row.values), meta)


def _picture_channels(row: Row, layout: Layout) -> tuple[dict[str, Array], tuple[int, int], str, Any]:
    """Return the channels at their final size, rows and columns of the file, and what the picture is known by."""
    channels = layout.image_channels
    if layout.colour:
        picture = read_picture(row.images[0], row.case, layout.size)
        volumes: dict[str, Array] = {name: picture.rgb[..., at].copy() for at, name in enumerate(channels)}
        return volumes, picture.full_shape, picture.sha256, picture.thumbnail
    if len(row.images) != len(channels):
        reason = f"it is one picture for the channels {', '.join(channels)}."
        raise DataError(row.images[0], row.case, reason, "Name a picture for each channel.")
    values = {name: _grey_of(path, row.case) for name, path in zip(channels, row.images, strict=True)}
    shapes = {name: each.shape for name, each in values.items()}
    if len(set(shapes.values())) > 1:
        raise DataError(row.images[0], row.case, f"its channels have the shapes {shapes}.", "Give one size to all.")
    rows, columns = shapes[channels[0]]
    size = layout.size or (rows, columns)
    found = {name: _compact(np.rint(_resized(each, size))) for name, each in values.items()}
    return found, (rows, columns), _digest(values), _BLANK


def _grey_of(path: Path, case: str) -> Array:
    """Read a channel; a picture in colours counts by its brightness."""
    try:
        return read_grey(path, case)
    except DataError:
        rgb = read_picture(path, case).rgb.astype(np.float32)
        return np.asarray(np.rint(rgb @ np.array([0.299, 0.587, 0.114], np.float32)), np.int32)  # ITU-R BT.601


def _resized(values: Array, size: tuple[int, int]) -> npt.NDArray[np.float32]:
    from PIL import Image

    image = Image.fromarray(np.asarray(values, np.float32))
    if values.shape == size:
        return np.array(image)
    return np.array(image.resize((size[1], size[0]), Image.Resampling.BILINEAR))  # widens the filter when it shrinks


def _resized_mask(mask: Mask, size: tuple[int, int]) -> Mask:
    """Resize a mask; a new pixel is inside if more than half of what it covers is."""
    from PIL import Image

    if mask.shape == size:
        return mask
    shares = Image.fromarray(mask.astype(np.float32)).resize((size[1], size[0]), Image.Resampling.BOX)
    return np.array(shares) > _HALF


# ---- volumes


@dataclass(frozen=True, eq=False)
class _VolumeCase:
    """Reads the volumes of a case."""

    row: Row
    layout: Layout

    def read(self) -> Case:
        """Return the case."""
        channels, grid = self._image()
        target = self._target(grid)
        digest = _digest(channels)
        volumes: dict[str, Array] = {}
        for name, values in channels.items():
            moved = values if target is grid else resample(values, grid, target, float(values.min()))
            volumes[name] = _compact(np.rint(moved) if values.dtype.kind in "iu" else moved)
        masks: dict[str, Mask] = {}
        for name, path in self.row.masks.items():
            values, source = self._label(path, grid)
            masks[name] = self._moved_mask(inside_of(values, path, self.row.case), source, target)
        for task in self.layout.segmentations:
            if task.name in self.row.maps:
                path = self.row.maps[task.name]
                values, source = self._label(path, grid)
                found = split_map(values, self.layout.numbers_of(task), path, self.row.case)
                masks.update({name: self._moved_mask(mask, source, target) for name, mask in found.items()})
        for name, path in self.row.volumes.items():
            values, source = self._label(path, grid)
            same = target is grid
            volumes[name] = np.asarray(values, np.float32) if same else resample(values, source, target, 0.0)
        trace = trace_meta(None, self.row.group, digest, _BLANK)
        meta = {**trace, STATISTICS: _statistics(volumes, self.layout)}
        return Case(self.row.case, volumes, masks, target.affine_ras, dict(self.row.values), meta)

    def _image(self) -> tuple[dict[str, Array], VolumeGrid]:
        row, names = self.row, self.layout.image_channels
        if len(row.images) == 1:
            found, affine_ras = read_volumes(row.images[0], row.case, self.layout.axes, len(names))
            return dict(zip(names, found, strict=True)), VolumeGrid(found[0].shape, affine_ras)
        channels: dict[str, Array] = {}
        first: VolumeGrid | None = None
        for name, path in zip(names, row.images, strict=True):
            (channels[name],), affine_ras = read_volumes(path, row.case, self.layout.axes)
            grid = VolumeGrid(channels[name].shape, affine_ras)
            first = first or grid
            if not grid.agrees(first):
                channels[name] = self._other_grid(path, channels[name], grid, first)
        return channels, first or grid

    def _target(self, grid: VolumeGrid) -> VolumeGrid:
        """Return the grid that is wanted: the image's own, unless a spacing is."""
        wanted = self.layout.spacing_mm
        return grid if wanted is None or np.allclose(grid.spacing_mm, wanted, rtol=1e-3) else grid.with_spacing(wanted)

    def _label(self, path: Path, image: VolumeGrid) -> tuple[Array, VolumeGrid]:
        """Return a label's values and grid, which is the image's unless all is resampled."""
        (values,), affine_ras = read_volumes(path, self.row.case, self.layout.axes)
        grid = VolumeGrid(values.shape, affine_ras)
        if not grid.agrees(image):
            self._other_grid(path, values, grid, image)
        return values, grid

    def _moved_mask(self, mask: Mask, source: VolumeGrid, target: VolumeGrid) -> Mask:
        if target is source or (source.shape == target.shape and source.agrees(target)):
            return mask
        return resample(mask, source, target, 0.0) >= _HALF

    def _other_grid(self, path: Path, values: Array, grid: VolumeGrid, image: VolumeGrid) -> Array:
        """Resample a channel that lies elsewhere, if that was asked for."""
        apart = grid.distance_mm(image)
        found = f"its voxels are {grid.shape} of {_lengths(grid)} mm, those of the image {image.shape} of "
        found += f"{_lengths(image)} mm" + (f", and lie {apart:.1f} mm apart" if np.isfinite(apart) else "")
        if self.layout.spacing_mm is None:
            remedy = "Resample it to the image's grid, or give --spacing_mm, to which everything is resampled."
            raise DataError(path, self.row.case, f"{found}.", remedy)
        share = image.share_inside(grid)
        if share == 0:
            raise DataError(path, self.row.case, f"{found}; they do not meet.", "Give the file of this case.")
        if share < 1:
            _logger.warning("%s covers %.0f %% of the image; it counts as 0 elsewhere", path, 100 * share)
        return resample(values, grid, image, float(values.min()))


def _lengths(grid: VolumeGrid) -> str:
    return " x ".join(f"{length:.3g}" for length in grid.spacing_mm)


# ---- both


def _compact(values: Array) -> Array:
    """Return whole numbers as int16 where they fit, fractions as float32."""
    if values.dtype.kind == "f" and not bool((values == np.rint(values)).all()):
        return np.ascontiguousarray(values, np.float32)
    low, high = float(values.min()), float(values.max())
    fits = low >= _INT16.min and high <= _INT16.max
    return np.ascontiguousarray(values, np.int16 if fits else np.float32)


def _statistics(volumes: Mapping[str, Array], layout: Layout) -> dict[str, list[float]]:
    """Return mean and standard deviation of each channel over the voxels that are not 0, for z-scores."""
    found = {}
    for name in layout.image_channels:
        values = volumes[name][volumes[name] != 0].astype(np.float64)
        deviation = float(values.std()) if values.size else 0.0
        found[name] = [float(values.mean()) if values.size else 0.0, deviation or 1.0]
    return found


def _digest(channels: Mapping[str, Array]) -> str:
    """Return a digest of what is seen, whatever format it was stored in."""
    state = hashlib.sha256()
    for values in channels.values():
        state.update(repr(values.shape).encode())
        state.update(_compact(values).tobytes())
    return state.hexdigest()
