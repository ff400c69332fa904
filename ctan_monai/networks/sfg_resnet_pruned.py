"""A ResNet of filter groups with a fixed grouping: each group computes its own 3x3 kernels alone."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ctan_monai.networks.sfg_pruned import PrunedLayer, convolution_of, spread


class PrunedConvolution(nn.Module):
    """`CommonConvolution` outside training, with batch norms folded in, on the channels that may differ from zero.

    Args:
        common: the convolution, in evaluation mode.
        incoming: the channels of each group's input.
    """

    def __init__(self, common: Any, incoming: list[Tensor]) -> None:
        super().__init__()
        made = []
        for norm, channels in zip(common.norms.values(), incoming, strict=False):  # fewer go on in the last block
            fused = fuse_conv_bn_eval(common.convolve, norm)
            made.append(convolution_of(common.convolve, fused.weight.detach()[:, channels], fused.bias.detach()))
        self.own, self.act = nn.ModuleList(made), common.act
        self.channels = [torch.arange(common.convolve.out_channels)] * len(made)

    def forward(self, inputs: list[Tensor]) -> list[Tensor]:
        """Return G tensors (B, K, *S / stride) from G tensors (B, len(incoming), *S), or from one."""
        found: list[Tensor] = []
        for index, own in enumerate(self.own):
            found.append(self.act(own(inputs[index if len(inputs) > 1 else 0])))
        return found


class PrunedBlock(nn.Module):
    """`GroupedBlock` outside training, with each kernel evaluated for its own group only.

    Args:
        block: the block, in evaluation mode.
    """

    def __init__(self, block: Any) -> None:
        super().__init__()
        everything = [torch.arange(block.in_channels)] * block.groups
        channels, layers = everything, []
        for layer in block.layers:
            layers.append((PrunedConvolution if hasattr(layer, "norms") else PrunedLayer)(layer, channels))
            channels = layers[-1].channels
        self.layers = nn.ModuleList(layers)
        self.spread = nn.ModuleList([spread(block.layers[-1].convolve, one) for one in channels[: block.going_on]])
        self.shortcut = nn.ModuleList([PrunedConvolution(layer, everything) for layer in block.shortcut])
        self.act = block.act

    def forward(self, inputs: list[Tensor], temperature: Tensor) -> list[Tensor]:
        """Return G tensors (B, K, *S / stride); arguments as for `GroupedBlock`, the temperature is not used."""
        features = inputs
        for layer in self.layers:
            features = layer(features)
        around = inputs
        for layer in self.shortcut:
            around = layer(around)
        found: list[Tensor] = []
        for index, place in enumerate(self.spread):
            found.append(self.act(place(features[index]) + around[index if len(around) > 1 else 0]))
        return found
