"""MONAI's random affine transform, told which entries of a sample to move and how to interpolate each."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from monai.transforms import RandAffined

from ctan_monai.aliases import takes_old_arguments
from ctan_monai.errors import ConfigError
from ctan_monai.tasks import Task, check_tasks, region_key
from ctan_monai.transforms.labels import with_layout_of


def spatial_modes(tasks: Iterable[Task]) -> dict[str, str]:
    """Name the entries of a sample that lie on the image's grid, and how each is interpolated.

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


class RandAffineLabelsd(RandAffined):  # type: ignore[misc]  # MONAI has no type hints that mypy could follow
    """Randomly apply an affine transform with probability ``prob``, to image and labels alike.

    MONAI's ``RandAffined`` with the keys and interpolation modes of the tasks. What moves in from outside is 0, so
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
        self.modes = spatial_modes(tasks)
        super().__init__(
            keys=list(self.modes),
            mode=list(self.modes.values()),
            padding_mode=outside,
            rotate_range=rotate_range if spatial_dims == 2 else (0.0, 0.0, rotate_range),
            scale_range=(scale_range,) * spatial_dims,
            translate_range=(translate_range,) * spatial_dims,
            prob=prob,
            allow_missing_keys=True,
        )

    def __call__(self, sample: Mapping[str, Any], lazy: bool | None = None) -> dict[str, Any]:
        """Return the sample, or a moved copy of it."""
        return with_layout_of(sample, super().__call__(sample, lazy=lazy), self.modes)
