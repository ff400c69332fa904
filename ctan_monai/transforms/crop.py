"""Crop a sample: the center, a random patch, or one slice."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from monai.transforms import Randomizable, RandSpatialCropd, ResizeWithPadOrCropd, SpatialPadd, Transform

from ctan_monai.errors import ConfigError
from ctan_monai.tasks import Task
from ctan_monai.transforms.affine import spatial_modes
from ctan_monai.transforms.batch import Batch, BatchTransform, apply_to_batch, each_sample, plain
from ctan_monai.transforms.labels import with_layout_of

_SMALLEST = 32  # below, nothing is left of an image after an encoder's five halvings


class CropOrPadLabelsd(BatchTransform, ResizeWithPadOrCropd):  # type: ignore[misc]  # MONAI has no type hints
    """Center-crop or zero-pad a sample to a size: image, labels and regions alike.

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
        keys = list(spatial_modes(tasks))
        ResizeWithPadOrCropd.__init__(self, keys, spatial_size=size, mode="constant", allow_missing_keys=True)
        self.size = tuple(size)

    def __call__(self, sample: Mapping[str, Any], lazy: bool | None = None) -> dict[str, Any]:
        """Return the cropped or padded sample.

        Raises:
            ConfigError: the sample has another number of axes.
        """
        if self._fits(tuple(sample["image"].shape[1:])):
            return dict(sample)
        return with_layout_of(sample, ResizeWithPadOrCropd.__call__(self, sample, lazy=lazy), self.keys)

    def apply(self, batch: Mapping[str, Any], drawn: Sequence[None]) -> Batch:
        """Crop or pad all samples at once, as channels of one MONAI image."""
        if self._fits(tuple(batch["image"].shape[2:])):
            return dict(batch)
        flat = {key: batch[key].flatten(0, 1) for key in self.keys if key in batch}
        cut = ResizeWithPadOrCropd.__call__(self, flat)
        return {
            **batch,
            **{key: plain(cut[key]).to(batch[key].dtype).reshape(*batch[key].shape[:2], *self.size) for key in flat},
        }

    def _fits(self, shape: tuple[int, ...]) -> bool:
        if len(shape) != len(self.size):
            raise ConfigError(
                "image_size", f"{list(self.size)} for an image of {shape}.", f"Give {len(shape)} numbers."
            )
        return shape == self.size


class RandPatchLabelsd(Randomizable, Transform):  # type: ignore[misc]  # MONAI has no type hints
    """Randomly crop a patch of image, labels and regions alike, zero-padding what is smaller.

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
        """Seed the random choice of patches."""
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


apply_to_batch.register(RandPatchLabelsd, each_sample)


class RandSelectSliced(Randomizable, Transform):  # type: ignore[misc]  # MONAI has no type hints
    """Randomly select one of an item's ``slices`` as its ``slice``; put it before `LoadCaseFiled`.

    Items without ``slices``, whole volumes, pass as they are.

    Raises:
        ConfigError: (when called) ``slices`` is no pair of the first slice and the last + 1.
    """

    def __call__(self, item: Mapping[str, Any]) -> dict[str, Any]:
        """Draw the slice."""
        if "slices" not in item:
            return dict(item)
        first, stop = item["slices"]
        if not 0 <= first < stop:
            raise ConfigError("slices", f"{item['slices']} of {item.get('case')}.", "Give the first and the last + 1.")
        return {**item, "slice": int(self.R.randint(first, stop))}
