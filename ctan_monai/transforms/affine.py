"""Random affine transform of image and labels, each with its interpolation mode."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from monai.transforms import Affine, RandAffineGrid
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import grid_sample

from ctan_monai.aliases import takes_old_arguments
from ctan_monai.errors import ConfigError
from ctan_monai.tasks import Task, check_tasks, region_key
from ctan_monai.transforms.batch import Batch, RandBatchTransform, change_rows, chosen, parts_in_cache, reseeded, upload


def spatial_modes(tasks: Iterable[Task]) -> dict[str, str]:
    """Return the interpolation mode of each entry of a sample that lies on the image's grid.

    Returns:
        'bilinear' for the image and voxel-level values, 'nearest' for masks and regions; MONAI calls trilinear
        'bilinear' too. Regions are named whether or not a sample has them.
    """
    modes = {"image": "bilinear"}
    for task in check_tasks(tasks):
        if task.pixel_level:
            modes[task.name] = "nearest" if task.masks else "bilinear"
            modes[region_key(task)] = "nearest"
    return modes


class RandAffineLabelsd(RandBatchTransform):
    """Randomly apply an affine transform with probability ``prob``, to image and labels alike.

    MONAI's ``RandAffined`` for whole batches: the same draws, matrices and interpolation, in float32 in place of
    float64 (docs/adr/0033), with the keys and interpolation modes of the tasks. What moves in from outside is 0, so
    scale the image first such that 0 is air, or the mirror image of what is inside. A sample keeps its layout: masks
    uint8, labels plain tensors. A dose is moved, its values stay. The affine of the image follows.

    Args:
        tasks: tasks of the sample.
        spatial_dims: 2 or 3; in 3D the turn is about the last axis, so within axial slices.
        rotate_range: largest angle in either sense, in radians.
        scale_range: largest change of size, as a fraction; each axis has its own.
        translate_range: largest shift along each axis, in voxels.
        prob: how often to do anything.
        outside: 'zeros', or 'reflection' for images that have no background.

    Raises:
        ConfigError: a number of dimensions other than 2 or 3, or an outside of another kind.
    """

    @takes_old_arguments("transforms.RandAffineLabelsd")
    def __init__(
        self,
        tasks: Iterable[Task],
        spatial_dims: int = 2,
        rotate_range: float = math.radians(10),
        scale_range: float = 0.1,
        translate_range: float = 6.0,
        prob: float = 0.5,
        outside: str = "zeros",
    ) -> None:
        if outside not in ("zeros", "reflection"):
            raise ConfigError("RandAffineLabelsd.outside", f"found {outside!r}.", "Use zeros or reflection.")
        if spatial_dims not in (2, 3):
            raise ConfigError("RandAffineLabelsd.spatial_dims", f"found {spatial_dims!r}.", "Use 2 or 3.")
        super().__init__(prob)
        self.modes, self.spatial_dims, self.outside = spatial_modes(tasks), spatial_dims, outside
        self.matrices = RandAffineGrid(
            rotate_range=rotate_range if spatial_dims == 2 else (0.0, 0.0, rotate_range),
            scale_range=(scale_range,) * spatial_dims,
            translate_range=(translate_range,) * spatial_dims,
        )

    def set_random_state(self, seed: int | None = None, state: Any = None) -> RandAffineLabelsd:
        """Seed the choice of samples and the matrices, as MONAI does."""
        super().set_random_state(seed, state)
        if seed is None:
            self.matrices.set_random_state(seed, state)
        else:
            own = self.matrices.R if "R" in vars(self.matrices) else None  # else it is the one that all have in common
            self.matrices.R = reseeded(own, seed)
        return self

    def draw(self) -> NDArray[np.float64] | None:
        """Draw a matrix (d + 1, d + 1) from transformed to original voxels, relative to the image's center."""
        self.randomize(None)
        self.matrices.randomize()  # once whether or not it is needed, and again for a sample that moves, as MONAI does
        if not self._do_transform:
            return None
        self.matrices.randomize()
        dims, angle = self.spatial_dims, self.matrices.rotate_params[-1]
        turn = np.eye(dims)
        turn[:2, :2] = [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
        matrix = np.eye(dims + 1)
        matrix[:dims, :dims] = turn * self.matrices.scale_params
        matrix[:dims, dims] = turn @ self.matrices.translate_params
        return matrix

    def apply(self, batch: Mapping[str, Any], drawn: Sequence[NDArray[np.float64] | None]) -> Batch:
        """Transform the samples that a matrix was drawn for."""
        rows = chosen(drawn)
        if not rows:
            return dict(batch)
        image, moved = batch["image"], dict(batch)  # (B, C, *S)
        matrices = upload(np.stack([matrix for matrix in drawn if matrix is not None]), image.device)
        for part in parts_in_cache(rows, image):
            grid = sampling_grid(matrices[part], image.shape[2:])  # (b, *S, d)
            for key in self.modes.keys() & batch.keys():
                sample = partial(self._sampled, mode=self.modes[key])
                moved[key] = change_rows(moved[key], rows[part], sample, grid)
        return moved

    def _sampled(self, part: Tensor, grid: Tensor, mode: str) -> Tensor:
        found = grid_sample(part.to(grid.dtype), grid, mode=mode, padding_mode=self.outside, align_corners=False)
        return found.to(part.dtype)  # (b, C, *S)

    def updated_affine(self, affine_ras: Tensor, drawn: Any, shape: Sequence[int]) -> Tensor:
        """Return the affine of the transformed image."""
        moved = Affine.compute_w_affine(len(affine_ras) - 1, drawn, shape, shape)
        return affine_ras @ torch.as_tensor(moved, dtype=affine_ras.dtype)


def sampling_grid(matrices: Tensor, shape: Sequence[int]) -> Tensor:
    """Return the sampling grid of transformed images, as `torch.nn.functional.grid_sample` takes it.

    Args:
        matrices: (b, d + 1, d + 1) float64, see `RandAffineLabelsd.draw`.
        shape: *S of the images, d axes.

    Returns:
        (b, *S, d) float32, off by up to 1e-5 voxels.
    """
    dims = len(shape)
    scaled = matrices[:, :dims] * upload([[2.0 / max(2, size)] for size in shape], matrices.device, matrices.dtype)
    scaled = scaled.flip(1)  # (b, d, d + 1), the last axis comes first
    total = scaled[:, :, dims].float()  # (b, d)
    for axis, size in enumerate(shape):
        places = torch.arange(size, device=matrices.device, dtype=torch.float64) - (size - 1) / 2
        part = (places[:, None] * scaled[:, None, :, axis]).float()  # (b, size, d)
        total = _added(total, part)
    return total


def _added(total: Tensor, part: Tensor) -> Tensor:
    """Add the part (b, n, d) of one more axis to a grid (b, ..., d)."""
    more = part.reshape(len(part), *[1] * (total.ndim - 2), *part.shape[1:])  # (b, 1 ..., n, d)
    if part.shape[-1] != 2:
        return total.unsqueeze(-2) + more
    left, right = (torch.view_as_complex(each.contiguous()) for each in (total.unsqueeze(-2), more))
    return torch.view_as_real(left + right)  # a complex number for each voxel, in place of a loop over two
