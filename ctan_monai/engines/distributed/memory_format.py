"""Channels-last weights."""

from __future__ import annotations

import torch
from torch import nn

from ctan_monai.engines.distributed.unwrap import unwrap

_FORMATS = {4: torch.channels_last, 5: torch.channels_last_3d}


def to_channels_last(network: nn.Module) -> None:
    """Lay out the weights of convolutions channels-last, in place.

    A convolution computes channels-last if its weight or its input is, so the images need no conversion: converting
    them as well made a ResNet-50's step no faster (bf16, 1 channel, 128 px, CPU).

    Args:
        network: 2D or 3D, may be wrapped or compiled.
    """
    for parameter in unwrap(network).parameters():
        if parameter.ndim in _FORMATS:
            # not contiguous(): kernels of one pixel are so in either format, and would keep strides that the
            # gradient's are not, which DistributedDataParallel complains about
            laid_out = torch.empty_like(parameter.data, memory_format=_FORMATS[parameter.ndim])
            parameter.data = laid_out.copy_(parameter.data)
