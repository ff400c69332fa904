"""Stochastic filter groups with a fixed grouping: each group computes its own kernels alone."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from ctan_monai.networks.filter_groups import one_hot


class PrunedPath(nn.Module):
    """`GroupPath` restricted to the K_g kernels of its group.

    Args:
        layer: a `FilterGroupLayer` in evaluation mode.
        index: of the group.
        kept: the group's kernels, whole numbers below K, ascending.
    """

    if TYPE_CHECKING:
        place: Tensor

    def __init__(self, layer: Any, index: int, kept: Tensor) -> None:
        super().__init__()
        path, full = list(layer.groups.values())[index], layer.convolve
        norm, kernels = path.head.N, full.out_channels
        weight, bias = fuse_conv_bn_weights(
            full.weight, None, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
        )
        own = type(full)(full.in_channels, len(kept), full.kernel_size, padding=full.padding)
        own.weight.data, own.bias.data = weight.detach()[kept].clone(), bias.detach()[kept].clone()
        place = torch.full((kernels,), len(kept), dtype=torch.long)  # of channels that are 0
        place[kept] = torch.arange(len(kept))
        self.own, self.activate, self.residual = own, copy.deepcopy(path.head.A), copy.deepcopy(path.residual)
        self.scattered = len(kept) < kernels
        self.register_buffer("place", place)

    def forward(self, image: Tensor) -> Tensor:
        """Return (B, K, *S) from (B, C, *S)."""
        features = self.activate(self.own(image))  # (B, K_g, *S)
        if self.scattered:
            padded = torch.cat([features, torch.zeros_like(features[:, :1])], dim=1)
            features = padded.index_select(1, self.place)  # (B, K, *S)
        found: Tensor = self.residual(features)
        return found


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
