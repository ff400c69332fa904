"""Bring samples of any size to one, so that they can be put into a batch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from monai.transforms import ResizeWithPadOrCropd

from ctan_monai.errors import ConfigError
from ctan_monai.tasks import Task
from ctan_monai.transforms.affine import spatial_modes
from ctan_monai.transforms.layout import with_layout_of

_SMALLEST = 32  # below, nothing is left of an image after an encoder's five halvings


class CropOrPadLabelsd(ResizeWithPadOrCropd):  # type: ignore[misc]  # MONAI has no type hints that mypy could follow
    """Cut the middle out of a sample, or put zeros around it: image, labels and regions alike.

    MONAI's ``ResizeWithPadOrCropd`` with the keys of the tasks. Scale the image first such that 0 is air. What is put
    around a region does not count. A sample of that size already is left as it is. The affine of the image follows.

    Args:
        tasks: tasks of the sample.
        image_size: size along each axis of the sample, at least 32.

    Raises:
        ConfigError: the size is no list of such numbers.
    """

    def __init__(self, tasks: Iterable[Task], image_size: Sequence[int]) -> None:
        size = list(image_size) if isinstance(image_size, list | tuple) else []
        if len(size) not in (2, 3) or not all(isinstance(side, int) and side >= _SMALLEST for side in size):
            raise ConfigError(
                "image_size", f"{image_size!r} was found.", f"Give whole numbers of at least {_SMALLEST}: [128, 128]."
            )
        super().__init__(list(spatial_modes(tasks)), spatial_size=size, mode="constant", allow_missing_keys=True)
        self.size = tuple(size)

    def __call__(self, sample: Mapping[str, Any], lazy: bool | None = None) -> dict[str, Any]:
        """Return the sample in the wanted size.

        Raises:
            ConfigError: the sample has another number of axes.
        """
        found = tuple(sample["image"].shape[1:])
        if len(found) != len(self.size):
            raise ConfigError(
                "image_size", f"{list(self.size)} for an image of {found}.", f"Give {len(found)} numbers."
            )
        if found == self.size:
            return dict(sample)
        return with_layout_of(sample, super().__call__(sample, lazy=lazy), self.keys)
