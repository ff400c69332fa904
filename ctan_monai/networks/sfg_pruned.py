"""Stochastic filter groups with a fixed grouping: each group computes its own kernels alone."""

from __future__ import annotations

import copy
from typing import Any

import torch
from monai.networks.nets import HighResBlock
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_conv_bn_weights

from ctan_monai.networks.filter_groups import one_hot


class PrunedPath(nn.Module):
    """`GroupPath` restricted to the K_g kernels of its group.

    Args:
        layer: a `FilterGroupLayer` in evaluation mode.
        index: of the group.
        kept: the group's kernels, whole numbers below K, ascending.
    """

    def __init__(self, layer: Any, index: int, kept: Tensor) -> None:
        super().__init__()
        path, full = list(layer.groups.values())[index], layer.convolve
        norm, kernels = path.head.N, full.out_channels
        weight, bias = fuse_conv_bn_weights(
            full.weight, None, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
        )
        own = type(full)(full.in_channels, len(kept), full.kernel_size, padding=full.padding)
        own.weight.data, own.bias.data = weight.detach()[kept].clone(), bias.detach()[kept].clone()
        self.own, self.activate, self.residual = own, copy.deepcopy(path.head.A), _folded(path.residual)
        self.scatter: nn.Module = nn.Identity()
        if len(kept) < kernels:  # by a convolution, which leaves memory channels last; indexing would not
            scatter = type(full)(len(kept), kernels, 1, bias=False)
            scatter.weight.data.zero_()
            scatter.weight.data[kept, torch.arange(len(kept))] = 1.0
            self.scatter = scatter

    def forward(self, image: Tensor) -> Tensor:
        """Return (B, K, *S) from (B, C, *S)."""
        features = self.activate(self.own(image))  # (B, K_g, *S)
        found: Tensor = self.residual(self.scatter(features))  # (B, K, *S)
        return found


def _folded(residual: nn.Module) -> nn.Module:
    """Copy residual blocks with the second normalization of each folded into the convolution before it."""
    made = copy.deepcopy(residual).eval()
    for block in made.modules():
        if isinstance(block, HighResBlock):
            first, second = block.layers[1], block.layers[2]
            first.conv = fuse_conv_bn_eval(first.conv, second.N)
            second.N = nn.Identity()
    return made


class EmptyPath(nn.Module):
    """Path of a group without kernels: zeros.

    Args:
        channels: K.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, image: Tensor) -> Tensor:
        """Return (B, K, *S) from (B, C, *S)."""
        return torch.zeros_like(image[:, :1]).repeat_interleave(self.channels, dim=1)


class PrunedLayer(nn.Module):
    """`FilterGroupLayer` outside training, with each kernel evaluated for its own group only.

    Args:
        layer: the layer, whose most probable grouping is used.
    """

    def __init__(self, layer: Any) -> None:
        super().__init__()
        z = one_hot(layer.assign.probabilities().detach())  # (K, G)
        paths: list[nn.Module] = []
        for index in range(z.shape[1]):
            kept = z[:, index].nonzero().flatten()
            paths.append(PrunedPath(layer, index, kept) if len(kept) else EmptyPath(z.shape[0]))
        self.paths = nn.ModuleList(paths)
        self.merging = copy.deepcopy(layer.merging)

    def forward(self, inputs: list[Tensor]) -> list[Tensor]:
        """Return G tensors (B, K, *S) from G tensors (B, C, *S), or from the one that they have in common."""
        features: list[Tensor] = []
        for index, path in enumerate(self.paths):
            features.append(path(inputs[index] if len(inputs) > 1 else inputs[0]))
        merged: list[Tensor] = self.merging(features)
        return merged


class PrunedTrunk(nn.Module):
    """`FilterGroupTrunk` outside training, of pruned layers.

    Args:
        trunk: the trunk.

    Source: SFG section 2; docs/adr/0027.
    """

    def __init__(self, trunk: Any) -> None:
        super().__init__()
        self.layers = nn.ModuleList([PrunedLayer(layer) for layer in trunk.layers])

    def forward(self, image: Tensor) -> list[Tensor]:
        """Return each group's features (B, C, *S) of an image (B, in_channels, *S)."""
        features = [image]
        for layer in self.layers:
            features = layer(features)
        return features
