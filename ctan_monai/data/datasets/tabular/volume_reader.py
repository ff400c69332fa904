"""Read a case of volumes, all reoriented alike, on the image's grid or resampled to one."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ctan_monai.data.cases.case import Case
from ctan_monai.data.cases.file_grid import OWN_GRID, Grid
from ctan_monai.data.datasets.tabular.files import read_volumes
from ctan_monai.data.datasets.tabular.grids import VolumeGrid, resample
from ctan_monai.data.datasets.tabular.labels import inside_of, split_map
from ctan_monai.data.datasets.tabular.layout import Layout
from ctan_monai.data.datasets.tabular.rows import Row
from ctan_monai.data.datasets.tabular.values import BLANK, HALF, NOTES, STATISTICS, compact, digest_of, statistics_of
from ctan_monai.data.lists.leakage import fingerprint_meta
from ctan_monai.errors import DataError

_logger = logging.getLogger(__name__)

Array = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class VolumeCase:
    """Reads a case of volumes.

    Args:
        row: its files and labels.
        layout: what is wanted of them.
        notes: what is doubtful about them, filled by `read`.
    """

    row: Row
    layout: Layout
    notes: list[str] = field(default_factory=list)

    def read(self) -> Case:
        """Return the case.

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
            masks[name] = self._moved_mask(inside_of(values, path, self.row.case), source, target)
        for task in self.layout.segmentations:
            if task.name in self.row.maps:
                path = self.row.maps[task.name]
                values, source = self._label(path, grid)
                found = split_map(values, self.layout.numbers_of(task), path, self.row.case)
                masks.update({name: self._moved_mask(mask, source, target) for name, mask in found.items()})
        for name, path in self.row.volumes.items():
            values, source = self._label(path, grid)
            there = source.agrees(target)
            volumes[name] = np.asarray(values, np.float32) if there else resample(values, source, target, 0.0)
        fingerprint = fingerprint_meta(None, self.row.group, digest, BLANK)
        about = {STATISTICS: statistics_of(volumes, self.layout), NOTES: self.notes, OWN_GRID: own.to_meta()}
        return Case(self.row.case, volumes, masks, target.affine_ras, dict(self.row.values), {**fingerprint, **about})

    def _image(self) -> tuple[dict[str, Array], VolumeGrid, Grid]:
        """Return the channels, their grid, and that of the file, which is the first channel's."""
        row, names, axes = self.row, self.layout.image_channels, self.layout.axes
        if len(row.images) == 1:
            found, affine_ras, own = read_volumes(row.images[0], row.case, axes, len(names), self.notes)
            return dict(zip(names, found, strict=True)), VolumeGrid(found[0].shape, affine_ras), own
        channels: dict[str, Array] = {}
        grids: list[tuple[VolumeGrid, Grid]] = []
        for name, path in zip(names, row.images, strict=True):
            (channels[name],), affine_ras, own = read_volumes(path, row.case, axes, notes=self.notes)
            grids.append((VolumeGrid(channels[name].shape, affine_ras), own))
            if not grids[-1][0].agrees(grids[0][0]):
                channels[name] = self._other_grid(path, channels[name], grids[-1][0], grids[0][0])
        return channels, *grids[0]

    def _target(self, grid: VolumeGrid) -> VolumeGrid:
        """Return the grid that is wanted: the image's own, unless a spacing is."""
        wanted = self.layout.spacing_mm
        return grid if wanted is None or np.allclose(grid.spacing_mm, wanted, rtol=1e-3) else grid.with_spacing(wanted)

    def _label(self, path: Path, image: VolumeGrid) -> tuple[Array, VolumeGrid]:
        """Return a label's values and grid, which is the image's unless all is resampled."""
        (values,), affine_ras, _ = read_volumes(path, self.row.case, self.layout.axes, notes=self.notes)
        grid = VolumeGrid(values.shape, affine_ras)
        if not grid.agrees(image):
            self._other_grid(path, values, grid, image)
        return values, grid

    def _moved_mask(self, mask: Mask, source: VolumeGrid, target: VolumeGrid) -> Mask:
        return mask if source.agrees(target) else resample(mask, source, target, 0.0) >= HALF

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
