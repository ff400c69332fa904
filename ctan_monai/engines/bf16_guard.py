"""Refuse what torch computes wrongly: some gradients of convolutions in bfloat16 on the CPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ctan_monai.engines.precision import Precision
from ctan_monai.errors import ConfigError

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


@contextmanager
def refusing_wrong_gradients(network: nn.Module, precision: Precision) -> Iterator[None]:
    """Within this, a network that trains in bfloat16 on the CPU refuses features that are too small for a stride.

    There the weight gradient of a convolution with a kernel and a stride above 1 along the last axis is nan, infinite
    or another number, silently, where the features are shorter than the stride along that axis (torch 2.13 with
    oneDNN: every trial of 2D and 3D, kernels 3 and 7, 64 channels, channels-last or not; one voxel more, and all are
    right). A network whose encoder divides by 32 gets there with images of up to 16 pixels or slices along the last
    axis.

    Args:
        network: what is trained.
        precision: what it computes in; nothing is watched in any other than bfloat16 on the CPU.

    Raises:
        ConfigError: (from the forward pass) such features.
    """
    watched = precision == Precision("cpu", torch.bfloat16)
    handles = [
        module.register_forward_pre_hook(_refuse_short_features)
        for module in (network.modules() if watched else ())
        if isinstance(module, _CONVOLUTIONS) and module.stride[-1] > 1 and module.kernel_size[-1] > 1
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _refuse_short_features(module: Any, arguments: tuple[Tensor, ...]) -> None:
    features = arguments[0]  # (B, C, *S)
    if torch.is_grad_enabled() and features.shape[-1] < module.stride[-1]:
        shape, stride = tuple(features.shape[2:]), tuple(module.stride)
        raise ConfigError(
            "amp",
            f"features of {shape} reach a convolution with stride {stride}; in bfloat16 on the CPU its gradient is "
            "wrong where the last axis is shorter than the stride.",
            "Train with --amp False, or on images that are larger along the last axis.",
        )
