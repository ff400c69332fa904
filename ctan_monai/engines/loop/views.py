"""Test-time augmentation: the answers for mirror images of an image, mirrored back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn

from ctan_monai.engines.runs.options import as_bool
from ctan_monai.errors import ConfigError
from ctan_monai.tasks import Task, check_tasks
from ctan_monai.transforms.load import check_channels
from ctan_monai.transforms.mirror import mirrored_order

Outputs = dict[str, Tensor]
Infer = Callable[[Tensor, nn.Module], Outputs]


class MirrorViews:
    """Answer for an image and for its mirror image along each of some axes, with left and right names exchanged back.

    Args:
        tasks: of the network; the ``mirror_pairs`` of a Segmentation say what changes places.
        image_channels: names of the image's channels; contours among them change places too.
        axes: spatial axes of the image, those along which the training mirrors (`RandMirrorLabelsd`).
        enabled: false: the image alone.

    Raises:
        ConfigError: an axis is negative, or the image or a task has only one name of a pair.
    """

    def __init__(
        self,
        tasks: Iterable[Task],
        image_channels: Sequence[str] = ("ct",),
        axes: Sequence[int] = (1,),
        enabled: bool | str = True,
    ) -> None:
        self.tasks, self.axes = check_tasks(tasks), tuple(axes) if as_bool(enabled, "mirror") else ()
        if any(not isinstance(axis, int) or axis < 0 for axis in axes):
            raise ConfigError("MirrorViews.axes", f"found {list(axes)}.", "Count axes from 0.")
        pairs = [pair for task in self.tasks for pair in task.mirror_pairs]
        self._channels = mirrored_order(check_channels(image_channels), pairs)

    def __call__(self, infer: Infer, image: Tensor, network: nn.Module) -> list[Outputs]:
        """Return the outputs for the image, then those for each mirror image.

        Args:
            infer: image and network -> logits.
            image: (B, C, *S).
            network: that answers.
        """
        found = [infer(image, network)]
        for axis in self.axes:
            mirrored = torch.flip(_in_order(image, self._channels), dims=(axis + 2,))
            found.append(self._back(infer(mirrored, network), axis))
        return found

    def _back(self, outputs: Outputs, axis: int) -> Outputs:
        back = dict(outputs)
        for task in self.tasks:
            if task.pixel_level:
                order = mirrored_order(task.label_names, task.mirror_pairs) if task.masks else [0]
                first = back[task.name].shape[1] - len(order)  # the background, where labels exclude each other
                channels = [*range(first), *(first + index for index in order)]
                back[task.name] = torch.flip(_in_order(back[task.name], channels), dims=(axis + 2,))
        return back


def _in_order(tensor: Tensor, order: Sequence[int]) -> Tensor:
    if list(order) == list(range(tensor.shape[1])):
        return tensor
    return tensor[:, list(order)]
