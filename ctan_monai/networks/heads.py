"""Heads: from features at the image's size to one task's logits, for networks without a ResNet encoder."""

from __future__ import annotations

from functools import singledispatch

from monai.networks.layers.factories import Conv, Pool
from torch import Tensor, nn

from ctan_monai.errors import ConfigError
from ctan_monai.networks.decoders import ScoredHead, expect_few_voxels
from ctan_monai.tasks import Classification, Regression, Segmentation, Task


class AddedHead(nn.Module):
    """Head on the sum of some features.

    Args:
        head: from features (B, channels, *S) to logits.
    """

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head

    def forward(self, features: list[Tensor]) -> Tensor:
        """Return logits from tensors (B, channels, *S)."""
        total = features[0]
        for more in features[1:]:
            total = total + more
        logits: Tensor = self.head(total)
        return logits


@singledispatch
def head_for(task: Task, spatial_dims: int, channels: int, slice_score: bool = False) -> nn.Module:
    """Create the head of a task: a 1x1 convolution, or global average pooling and a linear layer.

    Args:
        task: the task.
        spatial_dims: 2 or 3.
        channels: of the features.
        slice_score: image-level heads return one channel more, see `ScoredHead`.

    Returns:
        A module from a list of features (B, channels, *S), which it adds, to logits.

    Raises:
        ConfigError: no head is known for this kind of task.
    """
    raise ConfigError("tasks", f"there is no head for {type(task).__name__}.", "Register one with head_for.")


@head_for.register
def _(task: Segmentation, spatial_dims: int, channels: int, slice_score: bool = False) -> nn.Module:
    head = _voxel_head(spatial_dims, channels, task.channels)
    expect_few_voxels(head, task)
    return AddedHead(head)


@head_for.register
def _(task: Regression, spatial_dims: int, channels: int, slice_score: bool = False) -> nn.Module:
    if task.pixel_level:
        return AddedHead(_voxel_head(spatial_dims, channels, 1))
    return AddedHead(_image_head(spatial_dims, channels, 1, slice_score))


@head_for.register
def _(task: Classification, spatial_dims: int, channels: int, slice_score: bool = False) -> nn.Module:
    return AddedHead(_image_head(spatial_dims, channels, task.channels, slice_score))


def _voxel_head(spatial_dims: int, channels: int, out_channels: int) -> nn.Module:
    head: nn.Module = Conv[Conv.CONV, spatial_dims](channels, out_channels, kernel_size=1)
    return head


def _image_head(spatial_dims: int, channels: int, out_channels: int, slice_score: bool) -> nn.Module:
    head: nn.Module = nn.Linear(channels, out_channels)
    if slice_score:
        head = ScoredHead(head, channels)
    return nn.Sequential(Pool[Pool.ADAPTIVEAVG, spatial_dims](1), nn.Flatten(1), head)
