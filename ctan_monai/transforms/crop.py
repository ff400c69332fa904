"""Crop a sample: the center, a random patch, or one slice."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from monai.data import MetaTensor
from monai.transforms import Randomizable, RandSpatialCrop, Transform
from monai.transforms.utils import create_translate
from torch import Tensor

from ctan_monai.errors import ConfigError
from ctan_monai.tasks import Task
from ctan_monai.transforms.affine import spatial_modes
from ctan_monai.transforms.batch import Batch, BatchTransform, apply_to_batch, each_sample, plain

_SMALLEST = 32  # below, nothing is left of an image after an encoder's five halvings


Places = tuple[tuple[slice, ...], tuple[slice, ...]]  # of what is cut: in the result, and in the image


def _cut(value: Tensor, size: Sequence[int], places: Places) -> Tensor:
    """Copy a part of an array (..., *S) into zeros (..., *size)."""
    here: tuple[Any, ...] = (..., *places[0])
    there: tuple[Any, ...] = (..., *places[1])
    made = value.new_zeros((*value.shape[: -len(size)], *size))
    made[here] = value[there]
    return made


def _moved(affine_ras: Tensor, places: Places) -> Tensor:
    """Return the affine of what was cut out of an image."""
    shift = [there.start - here.start for here, there in zip(*places, strict=True)]
    moved = create_translate(len(affine_ras) - 1, shift)  # as many axes as the affine; a slice has fewer
    return affine_ras @ torch.as_tensor(moved, dtype=affine_ras.dtype)


class CropOrPadLabelsd(BatchTransform):
    """Center-crop or zero-pad a sample to a size: image, labels and regions alike.

    What MONAI's ``ResizeWithPadOrCropd`` does, with the keys of the tasks, without what that records of each key. Scale
    the image first such that 0 is air. What is put around a region does not count. A sample of that size already is
    left as it is. The affine of the image follows.

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
        self.keys, self.size = list(spatial_modes(tasks)), tuple(size)

    def apply(self, batch: Mapping[str, Any], drawn: Sequence[None]) -> Batch:
        """Crop or pad all samples at once.

        Raises:
            ConfigError: the samples have another number of axes.
        """
        shape = tuple(batch["image"].shape[2:])
        if self._fits(shape):
            return dict(batch)
        places = self._places(shape)
        return {**batch, **{key: _cut(batch[key], self.size, places) for key in self.keys if key in batch}}

    def updated_affine(self, affine_ras: Tensor, drawn: None, shape: Sequence[int]) -> Tensor:
        """Return the affine of the cropped or padded image."""
        return _moved(affine_ras, self._places(shape))

    def _places(self, shape: Sequence[int]) -> Places:
        here, there = [], []
        for whole, side in zip(shape, self.size, strict=True):
            front, first = max(0, side - whole) // 2, whole // 2 - side // 2 if whole > side else 0
            length = min(whole, side)
            here.append(slice(front, front + length))
            there.append(slice(first, first + length))
        return tuple(here), tuple(there)

    def _fits(self, shape: tuple[int, ...]) -> bool:
        if len(shape) != len(self.size):
            raise ConfigError(
                "image_size", f"{list(self.size)} for an image of {shape}.", f"Give {len(shape)} numbers."
            )
        return shape == self.size


class RandPatchLabelsd(Randomizable, Transform):  # type: ignore[misc]  # MONAI has no type hints
    """Randomly crop a patch of image, labels and regions alike, zero-padding what is smaller.

    The patches of MONAI's ``SpatialPadd`` and ``RandSpatialCropd``, and without ``around`` their draws, with the keys
    of the tasks, without what these record of each key. Scale the image first such that 0 is air. The affine of the
    image follows.

    Args:
        tasks: tasks of the sample.
        patch_size: size along each axis of the sample, at least 32.
        around: entry of the sample in whose bounding box (of what is above 0) the patch's center lies, as far as the
            image's borders let it; None, or an entry that is empty or not there: anywhere.

    Raises:
        ConfigError: the size is no list of such numbers; (when called) the sample has another number of axes.
    """

    def __init__(self, tasks: Iterable[Task], patch_size: Sequence[int], around: str | None = None) -> None:
        size = list(patch_size) if isinstance(patch_size, list | tuple) else []
        if len(size) not in (2, 3) or not all(isinstance(side, int) and side >= _SMALLEST for side in size):
            reason = f"{patch_size!r} was found."
            raise ConfigError("patch_size", reason, f"Give whole numbers of at least {_SMALLEST}: [96, 96, 64].")
        self.keys, self.size, self.around = list(spatial_modes(tasks)), tuple(size), around or ""
        self.crop = RandSpatialCrop(size, random_size=False)

    def set_random_state(self, seed: int | None = None, state: Any = None) -> RandPatchLabelsd:
        """Seed the random choice of patches."""
        super().set_random_state(seed, state)
        self.crop.set_random_state(seed, state)
        return self

    def place(self, shape: Sequence[int], aim: Tensor | None = None) -> Places:
        """Draw a patch; return which part of it an image (C, *S) fills, and what part of the image that is.

        Args:
            shape: *S.
            aim: (C, *S), the entry ``around``.
        """
        if (box := None if aim is None else _box(aim)) is None:
            self.crop.randomize([max(pair) for pair in zip(shape, self.size, strict=True)])  # as it is padded
            pairs = zip(shape, self.size, self.crop._slices, strict=True)
            # MONAI pads the half, rounded down, in front
            begins = [drawn.start - max(0, side - whole) // 2 for whole, side, drawn in pairs]
        else:
            centers = [int(self.R.randint(first, stop)) for first, stop in box]
            begins = [_begin(*each) for each in zip(centers, shape, self.size, strict=True)]
        here, there = [], []
        for whole, side, begin in zip(shape, self.size, begins, strict=True):
            here.append(slice(max(0, -begin), min(side, whole - begin)))
            there.append(slice(max(0, begin), min(whole, begin + side)))
        return tuple(here), tuple(there)

    def __call__(self, sample: Mapping[str, Any]) -> dict[str, Any]:
        """Return a patch of the sample."""
        shape = tuple(sample["image"].shape[1:])
        if len(shape) != len(self.size):
            found = f"{list(self.size)} for an image of {shape}."
            raise ConfigError("patch_size", found, f"Give {len(shape)} numbers.")
        places = self.place(shape, sample.get(self.around))
        changed = {**sample, **{key: _cut(plain(sample[key]), self.size, places) for key in self.keys if key in sample}}
        if isinstance(image := sample["image"], MetaTensor):
            affine_ras = _moved(image.affine, places)
            changed["image"] = MetaTensor(changed["image"], meta={**image.meta, "affine": affine_ras})
        return changed


def _box(aim: Tensor) -> list[tuple[int, int]] | None:
    """Return the bounding box of an entry (C, *S), first and last + 1 along each axis; None where it is empty."""
    inside = (plain(aim) > 0).any(dim=0)
    box = []
    for axis in range(inside.ndim):
        found = torch.nonzero(inside.movedim(axis, 0).flatten(1).any(dim=1)).flatten()
        if not len(found):
            return None
        box.append((int(found[0]), int(found[-1]) + 1))
    return box


def _begin(center: int, whole: int, side: int) -> int:
    """Return where a patch around a voxel begins, moved into the image; around the middle of a smaller image."""
    return -((side - whole) // 2) if side > whole else min(max(0, center - side // 2), whole - side)


@apply_to_batch.register
def _(transform: RandPatchLabelsd, batch: Mapping[str, Any], drawn: Sequence[Any]) -> Batch:
    shape, size = batch["image"].shape[2:], transform.size
    if len(shape) != len(size):
        return each_sample(transform, batch, drawn)  # which refuses it
    keys, aims = [key for key in transform.keys if key in batch], batch.get(transform.around)
    patches = {key: batch[key].new_zeros(*batch[key].shape[:2], *size) for key in keys}
    for at, seed in enumerate(drawn):
        seed()
        here, there = transform.place(shape, None if aims is None else aims[at])
        for key in keys:
            patches[key][at][(..., *here)] = batch[key][at][(..., *there)]
    return {**batch, **patches}


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
