"""Mirror the patient left to right: the image, every label, and the names of paired structures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ctan_monai.errors import ConfigError
from ctan_monai.tasks import Task, check_tasks, present_key, region_key
from ctan_monai.transforms.batch import Batch, RandBatchTransform, change_rows, chosen, upload
from ctan_monai.transforms.load import check_channels


class RandMirrorLabelsd(RandBatchTransform):
    """Randomly mirror the patient left to right with probability ``prob``, swapping the labels of paired structures.

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

    def draw(self) -> bool | None:
        """Draw whether to mirror a sample."""
        self.randomize(None)
        return True if self._do_transform else None

    def apply(self, batch: Mapping[str, Any], drawn: Sequence[bool | None]) -> Batch:
        """Mirror the samples that were drawn."""
        rows = chosen(drawn)
        return mirror_batch(batch, rows, self.tasks, self.channel_order, self.spatial_axis) if rows else dict(batch)


def mirrored_order(names: Sequence[str], pairs: Iterable[Sequence[str]]) -> list[int]:
    """Return the order of ``names`` after swapping every pair.

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


def mirror_batch(
    batch: Mapping[str, Any], rows: Sequence[int], tasks: Iterable[Task], channel_order: Sequence[int], axis: int
) -> Batch:
    """Mirror some samples of a batch along one spatial axis.

    The affine stays: the mirror image is another patient, lying on the same grid.

    Args:
        batch: tensors (B, C, *S).
        rows: samples to mirror, at least one.
        tasks: the tasks of the samples.
        channel_order: which channel of the image stands at each place afterwards (`mirrored_order`).
        axis: spatial axis to mirror, counted from the first.
    """
    changes: dict[str, Callable[[Tensor], Tensor]] = {"image": partial(_flip, axis=axis, order=channel_order)}
    for task in tasks:
        if not task.pixel_level:
            continue
        order = mirrored_order(task.label_names, task.mirror_pairs)
        changes[task.name] = partial(_flip, axis=axis, order=order)
        if task.present_shape:
            changes[present_key(task)] = partial(_in_order, order=order)  # (B, L)
        if region_key(task) in batch:
            changes[region_key(task)] = partial(_flip, axis=axis, order=[0])
    return {**batch, **{key: change_rows(batch[key], rows, change) for key, change in changes.items()}}


def _flip(tensor: Tensor, axis: int, order: Sequence[int]) -> Tensor:
    return torch.flip(_in_order(tensor, order), dims=(axis + 2,))  # (B, C, *S)


def _in_order(tensor: Tensor, order: Sequence[int]) -> Tensor:
    if list(order) == list(range(tensor.shape[1])):
        return tensor
    return tensor.index_select(1, upload(list(order), tensor.device))  # (B, C, *S)
