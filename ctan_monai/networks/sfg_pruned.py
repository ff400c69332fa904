"""Stochastic filter groups with a fixed grouping: each group computes its own kernels alone.

Features between the layers are compact: a tensor has those of the K channels that may differ from zero, and a list says
which. What reads it has the weights of those channels only.
"""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from monai.networks.layers.factories import Pool
from monai.networks.nets import HighResBlock
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_conv_bn_weights

from ctan_monai.networks.filter_groups import one_hot


class SparseBlock(nn.Module):
    """First `HighResBlock` after a pruned convolution, which reads its K_g kernels, not the zeros of the others.

    To the block's first convolution, zeros are a constant beside the K_g channels: what the first normalization and
    activation make of 0. It enters by one channel of ones, so that the padding around the image stays zero.

    Args:
        block: in evaluation mode.
        kept: the K_g channels that come in, ascending.
        order: of the K channels that go out; begins with ``kept``.
    """

    def __init__(self, block: HighResBlock, kept: Tensor, order: Tensor) -> None:
        super().__init__()
        made: Any = _folded(block)
        norm, self.activate, first = made.layers[0].N, made.layers[0].A, made.layers[1].conv
        zero = norm.weight.new_zeros(1, len(norm.weight), *[1] * len(first.kernel_size))
        constant = self.activate(norm(zero)).detach().flatten()  # (K,), of each channel where it is zero
        constant[kept] = 0
        of_ones = torch.einsum("kc...,c->k...", first.weight.detach(), constant)[:, None]  # (K, 1, *k)
        first.weight.data = torch.cat([first.weight.detach()[:, kept], of_ones], dim=1)
        first.in_channels = len(kept) + 1
        _take_channels(norm, kept)
        for name, value in (("weight", math.sqrt(1 + norm.eps)), ("bias", 0), ("running_mean", 0), ("running_var", 1)):
            old = getattr(norm, name)
            old.data = torch.cat([old.data, torch.full_like(old.data[:1], value)])  # leaves the ones as they are
        norm.num_features += 1
        last = made.layers[3].conv
        last.weight.data = last.weight.detach()[order]
        self.norm, self.first, self.second, self.last = norm, first, made.layers[2].A, last
        self.kept, self.rest = len(kept), len(order) - len(kept)

    def forward(self, features: Tensor) -> Tensor:
        """Return (B, K, *S) in the block's order from (B, K_g + 1, *S), whose last channel is 1."""
        found: Tensor = self.last(self.second(self.first(self.activate(self.norm(features)))))
        ends = [0, 0] * (features.dim() - 2)
        return found + nn.functional.pad(features[:, : self.kept], [*ends, 0, self.rest])


class PrunedPath(nn.Module):
    """`GroupPath` restricted to the K_g kernels of its group.

    Args:
        layer: a `FilterGroupLayer` in evaluation mode.
        index: of the group.
        kept: the group's kernels, whole numbers below K, ascending; at least one.
        incoming: the channels of what comes in.
    """

    def __init__(self, layer: Any, index: int, kept: Tensor, incoming: Tensor) -> None:
        super().__init__()
        path, full = list(layer.groups.values())[index], layer.convolve
        norm = path.head.N
        blocks: list[Any] = list(path.residual.children())
        fused = fuse_conv_bn_weights(
            full.weight, None, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
        )
        weight, bias = fused[0].detach()[kept][:, incoming], fused[1].detach()[kept]
        self.channels = kept
        sparse = bool(blocks) and len(kept) < full.out_channels
        if sparse:  # a channel of ones, for `SparseBlock`
            weight, bias = torch.cat([weight, torch.zeros_like(weight[:1])]), torch.cat([bias, bias.new_ones(1)])
        self.own = convolution_of(full, weight, bias)
        self.activate = copy.deepcopy(getattr(path.head, "A", nn.Identity()))
        if blocks:
            rest = [kernel for kernel in range(full.out_channels) if kernel not in kept.tolist()]
            self.channels = torch.cat([kept, torch.tensor(rest, dtype=kept.dtype)])
            blocks = [
                SparseBlock(block, kept, self.channels) if sparse and not at else _reordered(block, self.channels)
                for at, block in enumerate(blocks)
            ]
        self.residual = nn.Sequential(*blocks)

    def forward(self, image: Tensor) -> Tensor:
        """Return (B, len(channels), *S) from (B, len(incoming), *S)."""
        found: Tensor = self.residual(self.activate(self.own(image)))
        return found


class EmptyPath(nn.Module):
    """Path of a group without kernels: one channel of zeros, in the place of any.

    Args:
        full: the convolution that it does without.
    """

    def __init__(self, full: Any) -> None:
        super().__init__()
        self.channels = torch.zeros(1, dtype=torch.long)
        strided = full.stride[0] > 1
        self.take = Pool[Pool.MAX, len(full.stride)](1, full.stride[0]) if strided else nn.Identity()

    def forward(self, image: Tensor) -> Tensor:
        """Return (B, 1, *S / stride) from (B, C, *S)."""
        return torch.zeros_like(self.take(image[:, :1]))


class PrunedMerge(nn.Module):
    """`Merge` of compact features.

    Args:
        merge: what is pruned.
        own: the channels of a task's features.
        shared: those of the shared ones; none where nothing is shared.
    """

    def __init__(self, merge: Any, own: Tensor, shared: Tensor) -> None:
        super().__init__()
        self.two = len(shared) > 0
        self.join: Any = nn.Identity()
        self.channels = torch.cat([own, shared])  # no kernel is in two groups
        if merge.join is not None:
            kernels = merge.join.out_channels
            self.join = copy.deepcopy(merge.join)
            self.join.weight.data = merge.join.weight.detach()[:, torch.cat([own, kernels + shared])].clone()
            self.join.in_channels, self.channels = len(self.channels), torch.arange(kernels)

    def forward(self, own: Tensor, shared: Tensor) -> Tensor:
        """Return (B, len(channels), *S) from a task's features and the shared ones."""
        joined: Tensor = self.join(torch.cat([own, shared], dim=1) if self.two else own)
        return joined


class PrunedLayer(nn.Module):
    """`FilterGroupLayer` outside training, with each kernel evaluated for its own group only.

    Args:
        layer: the layer, whose most probable grouping is used.
        incoming: the channels of each group's input, or of the one that all have in common.
    """

    def __init__(self, layer: Any, incoming: list[Tensor]) -> None:
        super().__init__()
        z = one_hot(layer.assign.probabilities().detach()).cpu()  # (K, G)
        paths: list[Any] = []
        for index in range(z.shape[1]):
            kept = z[:, index].nonzero().flatten()
            paths.append(
                PrunedPath(layer, index, kept, incoming[index % len(incoming)])
                if len(kept)
                else EmptyPath(layer.convolve)
            )
        self.paths = nn.ModuleList(paths)
        none = torch.zeros(0, dtype=torch.long)
        self.merges = nn.ModuleList(
            PrunedMerge(merge, path.channels, paths[-1].channels if merge.parts == 2 else none)
            for merge, path in zip(layer.merging.merges.values(), paths, strict=False)
        )
        self.channels = [merge.channels for merge in self.merges] + [
            path.channels for path in paths[len(self.merges) :]
        ]

    def forward(self, inputs: list[Tensor]) -> list[Tensor]:
        """Return G tensors (B, len(channels), *S) from G such tensors, or from the one that they have in common."""
        features: list[Tensor] = []
        for index, path in enumerate(self.paths):
            features.append(path(inputs[index] if len(inputs) > 1 else inputs[0]))
        merged: list[Tensor] = []
        for index, merge in enumerate(self.merges):
            merged.append(merge(features[index], features[-1]))
        return merged + features[len(merged) :]


class PrunedTrunk(nn.Module):
    """`FilterGroupTrunk` outside training, of pruned layers.

    Args:
        trunk: the trunk.

    Source: SFG section 2; docs/adr/0027.
    """

    def __init__(self, trunk: Any) -> None:
        super().__init__()
        channels, layers = [torch.arange(trunk.layers[0].convolve.in_channels)], []
        for layer in trunk.layers:
            layers.append(PrunedLayer(layer, channels))
            channels = layers[-1].channels
        self.layers = nn.ModuleList(layers)
        self.spread = nn.ModuleList(spread(trunk.layers[-1].convolve, one) for one in channels)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Return each group's features (B, C, *S) of an image (B, in_channels, *S)."""
        features = [image]
        for layer in self.layers:
            features = layer(features)
        found: list[Tensor] = []
        for index, spread in enumerate(self.spread):
            found.append(spread(features[index]))
        return found


def spread(full: Any, channels: Tensor) -> nn.Module:
    """Create a convolution that puts features to their places; it leaves memory channels last, indexing would not."""
    kernels = full.out_channels
    if torch.equal(channels, torch.arange(kernels)):
        return nn.Identity()
    made: Any = type(full)(len(channels), kernels, 1, bias=False)
    made.weight.data = full.weight.new_zeros(made.weight.shape)
    made.weight.data[channels, torch.arange(len(channels))] = 1.0
    found: nn.Module = made
    return found


def convolution_of(full: Any, weight: Tensor, bias: Tensor) -> nn.Module:
    """Create a convolution like another one, of the same padding and stride, with other weights and a bias."""
    made: Any = type(full)(weight.shape[1], weight.shape[0], full.kernel_size, stride=full.stride, padding=full.padding)
    made.weight.data, made.bias.data = weight.clone(), bias.clone()
    found: nn.Module = made
    return found


def _folded(block: HighResBlock) -> HighResBlock:
    """Copy a residual block with its second normalization folded into the convolution before it."""
    made: Any = copy.deepcopy(block).eval()
    first, second = made.layers[1], made.layers[2]
    first.conv = fuse_conv_bn_eval(first.conv, second.N)
    second.N = nn.Identity()
    return made


def _reordered(block: HighResBlock, order: Tensor) -> HighResBlock:
    """Fold a residual block, for channels in another order."""
    made: Any = _folded(block)
    _take_channels(made.layers[0].N, order)
    first, last = made.layers[1].conv, made.layers[3].conv
    first.weight.data, last.weight.data = first.weight.detach()[:, order], last.weight.detach()[order]
    return made


def _take_channels(norm: Any, channels: Tensor) -> None:
    """Restrict a batch norm to some channels, in their order."""
    for value in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
        value.data = value.data[channels]
    norm.num_features = len(channels)
