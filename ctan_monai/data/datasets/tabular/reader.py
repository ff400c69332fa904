"""Readers of a table's cases: read images or volumes and resample them to one grid."""

from __future__ import annotations

import dataclasses
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ctan_monai.data.cases.case import Case
from ctan_monai.data.cases.file_grid import NATIVE_GRID, Grid, resample
from ctan_monai.data.datasets.tabular.files import is_image_file, read_values, read_volumes
from ctan_monai.data.datasets.tabular.labels import inside_of, split_map
from ctan_monai.data.datasets.tabular.layout import Layout
from ctan_monai.data.datasets.tabular.rows import Row
from ctan_monai.data.datasets.tabular.values import BLANK, HALF, NOTES, STATISTICS, compact, digest_of, statistics_of
from ctan_monai.data.formats.image_masks import (
    check_shape,
    note_of_turn,
    read_gray,
    read_inside,
    read_label_numbers,
    shrunk_mask,
)
from ctan_monai.data.formats.images import IMAGE_FILE_SUFFIXES, image_affine_ras, read_image_file
from ctan_monai.data.lists.leakage import fingerprint_meta
from ctan_monai.errors import DataError
from ctan_monai.tasks import region_key

_logger = logging.getLogger(__name__)
Array = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]
READER_VERSION = "own-2"  # raise it when the same files give another case: caches are rebuilt


@dataclass(frozen=True, eq=False)
class VolumeCase:
    """Reader of a case of volumes.

    Args:
        row: its files and labels.
        layout: what is wanted of them.
        notes: what is doubtful about them, filled by `read`.
    """

    row: Row
    layout: Layout
    notes: list[str] = field(default_factory=list)

    def read(self) -> Case:
        """Read the case.

        Raises:
            DataError: a file cannot be read, or does not lie on the image's grid.
        """
        channels, grid, own = self._image()
        target = self._target(grid)
        digest = digest_of(channels)
        volumes: dict[str, Array] = {}
        for name, values in channels.items():
            moved = values if target is grid else resample(values, grid, target, float(values.min()))
            volumes[name] = compact(np.rint(moved) if values.dtype.kind in "iu" else moved)
        masks: dict[str, Mask] = {}
        for name, path in self.row.masks.items():
            values, source = self._label(path, grid)
            masks[name] = self._resample_mask(inside_of(values, path, self.row.case), source, target)
        for task in self.layout.segmentations:
            if task.name in self.row.maps:
                path = self.row.maps[task.name]
                values, source = self._label(path, grid)
                found = split_map(values, self.layout.numbers_of(task), path, self.row.case)
                masks.update({name: self._resample_mask(mask, source, target) for name, mask in found.items()})
        for name, path in self.row.volumes.items():
            values, source = self._label(path, grid)
            there = source.agrees(target)
            volumes[name] = np.asarray(values, np.float32) if there else resample(values, source, target, 0.0)
        fingerprint = fingerprint_meta(None, self.row.group, digest, BLANK)
        about = {STATISTICS: statistics_of(volumes, self.layout), NOTES: self.notes, NATIVE_GRID: own.to_meta()}
        return Case(self.row.case, volumes, masks, target.affine_ras, dict(self.row.values), {**fingerprint, **about})

    def _image(self) -> tuple[dict[str, Array], Grid, Grid]:
        """Return the channels, their grid, and that of the file, which is the first channel's."""
        row, names, axes = self.row, self.layout.image_channels, self.layout.axes
        if len(row.images) == 1:
            found, affine_ras, own = read_volumes(row.images[0], row.case, axes, len(names), self.notes)
            return dict(zip(names, found, strict=True)), Grid(found[0].shape, affine_ras), own
        channels: dict[str, Array] = {}
        grids: list[tuple[Grid, Grid]] = []
        for name, path in zip(names, row.images, strict=True):
            (channels[name],), affine_ras, own = read_volumes(path, row.case, axes, notes=self.notes)
            grids.append((Grid(channels[name].shape, affine_ras), own))
            if not grids[-1][0].agrees(grids[0][0]):
                channels[name] = self._other_grid(path, channels[name], grids[-1][0], grids[0][0])
        return channels, *grids[0]

    def _target(self, grid: Grid) -> Grid:
        """Return the target grid: the image's own, unless a spacing is given."""
        wanted = self.layout.spacing_mm
        return grid if wanted is None or np.allclose(grid.spacing_mm, wanted, rtol=1e-3) else grid.with_spacing(wanted)

    def _label(self, path: Path, image: Grid) -> tuple[Array, Grid]:
        """Return a label's values and grid, which is the image's unless all is resampled."""
        (values,), affine_ras, _ = read_volumes(path, self.row.case, self.layout.axes, notes=self.notes)
        grid = Grid(values.shape, affine_ras)
        if not grid.agrees(image):
            self._other_grid(path, values, grid, image)
        return values, grid

    def _resample_mask(self, mask: Mask, source: Grid, target: Grid) -> Mask:
        return mask if source.agrees(target) else resample(mask, source, target, 0.0) >= HALF

    def _other_grid(self, path: Path, values: Array, grid: Grid, image: Grid) -> Array:
        """Resample a channel on another grid, if resampling was asked for."""
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


def _lengths(grid: Grid) -> str:
    return " x ".join(f"{length:.3g}" for length in grid.spacing_mm)


def read_image_case(row: Row, layout: Layout) -> Case:
    """Read a case of 2D images.

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
        if not is_image_file(path):
            reason = f"it does not end in one of {IMAGE_FILE_SUFFIXES}, as its image."
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
    own = Grid(full_shape, image_affine_ras(full_shape, full_shape)).to_meta()
    about = {STATISTICS: statistics_of(volumes, layout), "full_shape": list(full_shape), NOTES: notes, NATIVE_GRID: own}
    return Case(
        row.case, volumes, masks, image_affine_ras(full_shape, size), dict(row.values), {**fingerprint, **about}
    )


def _channels(row: Row, layout: Layout) -> tuple[dict[str, Array], tuple[int, int], dict[str, Any]]:
    """Read the channels at their final size; return them with rows and columns of the file and the fingerprint."""
    channels = layout.image_channels
    if layout.color:
        image = read_image_file(row.images[0], row.case, layout.size)
        volumes: dict[str, Array] = {name: image.rgb[..., at].copy() for at, name in enumerate(channels)}
        fingerprint = fingerprint_meta(None, row.group, image.sha256, image.thumbnail, image.mean_rgb)
        return volumes, image.full_shape, fingerprint
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
    """Read a channel in gray; color images are converted."""
    try:
        return read_gray(path, case)
    except DataError:
        rgb = read_image_file(path, case).rgb.astype(np.float32)
        return np.asarray(np.rint(rgb @ np.array([0.299, 0.587, 0.114], np.float32)), np.int32)  # ITU-R BT.601


def _resized(values: Array, size: tuple[int, int]) -> npt.NDArray[np.float32]:
    from PIL import Image

    image = Image.fromarray(np.asarray(values, np.float32))
    if values.shape == size:
        return np.array(image)
    return np.array(image.resize((size[1], size[0]), Image.Resampling.BILINEAR))  # widens the filter when it shrinks


def read_case(row: Row, layout: Layout) -> Case:
    """Read a case.

    Args:
        row: its files and labels.
        layout: what is wanted of them.

    Returns:
        A case with a volume per channel of the image and per voxel-level regression that is known, and a mask per
        label and region that is known. Its ``meta`` says where else it could be met (`leakage.fingerprint_meta`), what
        its gray values are like, and how large an image's file is.

    Raises:
        DataError: a file cannot be read, does not lie on the image's grid, or holds what its task cannot have.
    """
    case = _read(row, layout)
    if all(volume.min() == volume.max() for volume in (case.volumes[name] for name in layout.image_channels)):
        raise DataError(row.images[0], row.case, "it is the same everywhere.", "Give an image that shows something.")
    meta = {**case.meta, "synthetic": True} if row.synthetic else case.meta
    return dataclasses.replace(case, masks={**case.masks, **_regions(case, layout)}, meta=meta)


def _regions(case: Case, layout: Layout) -> dict[str, npt.NDArray[np.bool_]]:
    """Create the regions that a case lacks: everything where a label is known, nothing where it is not."""
    regions = {region_key(task): task.name in case.volumes for task in layout.in_regions}
    return {name: np.full(case.shape, known) for name, known in regions.items() if name not in case.masks}


def _read(row: Row, layout: Layout) -> Case:
    if is_image_file(row.images[0]):
        if layout.spatial_dims == 3:
            reason = "it is an image, but the network takes volumes."
            raise DataError(row.images[0], row.case, reason, "Give volumes, or make a bundle of --spatial-dims 2.")
        return read_image_case(row, layout)
    if layout.color:
        reason = "it is no image, but the image's channels are red, green and blue."
        raise DataError(row.images[0], row.case, reason, "Give JPEG or PNG, or other image_channels.")
    if layout.size is not None:
        reason = f"it is no image, but images of the size {list(layout.size)} are wanted."
        raise DataError(row.images[0], row.case, reason, "Give JPEG or PNG, or make a bundle with --image ct or mr.")
    return VolumeCase(row, layout).read()
