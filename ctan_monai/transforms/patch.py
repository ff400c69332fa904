"""Cut a patch out of a sample, somewhere, so that volumes of any size can be put into a batch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from monai.transforms import Randomizable, RandSpatialCropd, SpatialPadd, Transform

from ctan_monai.errors import ConfigError
from ctan_monai.tasks import Task
from ctan_monai.transforms.affine import spatial_modes
from ctan_monai.transforms.layout import with_layout_of

_SMALLEST = 32  # below, nothing is left of an image after an encoder's five halvings


class RandPatchLabelsd(Randomizable, Transform):  # type: ignore[misc]  # MONAI has no type hints
    """Cut a patch at a random place, image, labels and regions alike; zeros are put around what is smaller.

    MONAI's ``SpatialPadd`` and ``RandSpatialCropd`` with the keys of the tasks. Scale the image first such that 0 is
    air. The affine of the image follows.

    Args:
        tasks: tasks of the sample.
        patch_size: size along each axis of the sample, at least 32.

    Raises:
        ConfigError: the size is no list of such numbers; (when called) the sample has another number of axes.
    """

    def __init__(self, tasks: Iterable[Task], patch_size: Sequence[int]) -> None:
        size = list(patch_size) if isinstance(patch_size, list | tuple) else []
        if len(size) not in (2, 3) or not all(isinstance(side, int) and side >= _SMALLEST for side in size):
            reason = f"{patch_size!r} was found."
            raise ConfigError("patch_size", reason, f"Give whole numbers of at least {_SMALLEST}: [96, 96, 64].")
        self.keys, self.size = list(spatial_modes(tasks)), tuple(size)
        self.pad = SpatialPadd(self.keys, size, mode="constant", allow_missing_keys=True)
        self.crop = RandSpatialCropd(self.keys, size, random_size=False, allow_missing_keys=True)

    def set_random_state(self, seed: int | None = None, state: Any = None) -> RandPatchLabelsd:
        """Seed the choice of places."""
        super().set_random_state(seed, state)
        self.crop.set_random_state(seed, state)
        return self

    def __call__(self, sample: Mapping[str, Any]) -> dict[str, Any]:
        """Return a patch of the sample."""
        shape = tuple(sample["image"].shape[1:])
        if len(shape) != len(self.size):
            found = f"{list(self.size)} for an image of {shape}."
            raise ConfigError("patch_size", found, f"Give {len(shape)} numbers.")
        return with_layout_of(sample, self.crop(self.pad(sample)), self.keys)
