"""Left and right change places: in the image, in every label, and in the names of what lies there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from monai.transforms import RandomizableTransform
from torch import Tensor

from ctan_monai.errors import ConfigError
from ctan_monai.tasks import Task, check_tasks, present_key, region_key
from ctan_monai.transforms.load import check_channels


class RandMirrorLabelsd(RandomizableTransform):  # type: ignore[misc]  # MONAI has no type hints
    """Randomly mirror the patient with probability ``prob``; a left parotid is still called left afterwards.

    Args:
        tasks: tasks of the sample; the ``mirror_pairs`` of a Segmentation say what changes places.
        image_channels: names of the image's channels; contours among them change places too.
        spatial_axis: axis, counted without the channels, that runs from one side of the patient to the other
            (1 in OpenKBP: axes are anterior to posterior, right to left, superior to inferior).
        prob: how often to mirror.
        channel_pairs: pairs of image channels to exchange that are no labels of these tasks.

    Raises:
        ConfigError: the image has one contour of a pair and not the other, or the axis is negative.
    """

    def __init__(
        self,
        tasks: Iterable[Task],
        image_channels: Sequence[str] = ("ct",),
        spatial_axis: int = 1,
        prob: float = 0.5,
        channel_pairs: Sequence[tuple[str, str]] = (),
    ) -> None:
        super().__init__(prob)
        self.tasks = check_tasks(tasks)
        if spatial_axis < 0:
            raise ConfigError("RandMirrorLabelsd.spatial_axis", f"found {spatial_axis}.", "Count axes from 0.")
        self.spatial_axis = spatial_axis
        pairs = [pair for task in self.tasks for pair in task.mirror_pairs]
        self.channel_order = mirrored_order(check_channels(image_channels), [*pairs, *channel_pairs])

    def __call__(self, sample: Mapping[str, Any]) -> dict[str, Any]:
        """Return the sample, or its mirror image."""
        self.randomize(None)
        if not self._do_transform:
            return dict(sample)
        return mirror_sample(sample, self.tasks, self.channel_order, self.spatial_axis)


def mirrored_order(names: Sequence[str], pairs: Iterable[Sequence[str]]) -> list[int]:
    """Say which entry of ``names`` stands at each place once every pair has changed places.

    >>> mirrored_order(["Eye_L", "Brainstem", "Eye_R"], [("Eye_L", "Eye_R")])
    [2, 1, 0]

    Raises:
        ConfigError: only one name of a pair is there: after mirroring it would show the wrong side.
    """
    order = list(range(len(names)))
    for left, right in pairs:
        if (left in names) != (right in names):
            raise ConfigError(
                "mirror_pairs",
                f"of {left} and {right} only one is in {list(names)}.",
                "Give both, or do not mirror.",
            )
        if left in names:
            order[names.index(left)], order[names.index(right)] = names.index(right), names.index(left)
    return order


def mirror_sample(
    sample: Mapping[str, Any], tasks: Iterable[Task], channel_order: Sequence[int], spatial_axis: int
) -> dict[str, Any]:
    """Mirror a sample (`LoadCaseFiled`) along one spatial axis.

    The affine stays: the mirror image is another patient, lying on the same grid.

    Args:
        sample: tensors (C, *S) without a batch dimension.
        tasks: the tasks of the sample.
        channel_order: which channel of the image stands at each place afterwards (`mirrored_order`).
        spatial_axis: axis to mirror, counted without the channels.
    """
    mirrored = dict(sample)
    mirrored["image"] = _flip(sample["image"], spatial_axis, channel_order)
    for task in tasks:
        if not task.pixel_level:
            continue
        order = mirrored_order(task.label_names, task.mirror_pairs)
        mirrored[task.name] = _flip(sample[task.name], spatial_axis, order)
        if task.present_shape:
            mirrored[present_key(task)] = sample[present_key(task)][order]  # (L,)
        if region_key(task) in sample:
            mirrored[region_key(task)] = _flip(sample[region_key(task)], spatial_axis, [0])
    return mirrored


def _flip(tensor: Tensor, spatial_axis: int, order: Sequence[int]) -> Tensor:
    if list(order) != list(range(len(tensor))):
        tensor = tensor[list(order)]  # (C, *S)
    return torch.flip(tensor, dims=(spatial_axis + 1,))
