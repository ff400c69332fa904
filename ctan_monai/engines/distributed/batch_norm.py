"""Synchronized batch normalization on any device."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ctan_monai.losses.distributed import SumOverRanks, all_reduced

_BY_AXES = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}


class _Sum(SumOverRanks):
    """All-reduce by summation; the gradient is all-reduced too."""

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        """Sum the gradients of all processes."""
        return all_reduced(grads[0])


class SharedBatchNorm(_BatchNorm):
    """Synchronized batch normalization: mean and variance are those of all processes' batches.

    `torch.nn.SyncBatchNorm` is that for GPUs only. Parameters and buffers have the names of `torch.nn.BatchNorm2d`;
    outside of training, and in a process that is alone, it is that.
    """

    def forward(self, features: Tensor) -> Tensor:  # (B, C, *S) -> (B, C, *S)
        """Normalize each channel over batch and space."""
        if not self.training or not dist.is_initialized() or dist.get_world_size() == 1:
            return super().forward(features)
        exact = features.float()
        shape = [1, -1] + [1] * (features.ndim - 2)
        axes = [0, *range(2, features.ndim)]
        count = exact.new_tensor([exact.numel() / exact.shape[1]])
        sums: Tensor = _Sum.apply(torch.cat([exact.sum(axes), count]))  # type: ignore[no-untyped-call]
        total = sums[-1].detach()
        mean = sums[:-1] / total  # (C,)
        centerd = exact - mean.view(shape)
        squares: Tensor = _Sum.apply((centerd * centerd).sum(axes))  # type: ignore[no-untyped-call]
        variance = squares / total
        self._follow(mean.detach(), variance.detach(), float(total))
        normalized = centerd * torch.rsqrt(variance + self.eps).view(shape)
        if self.affine:
            normalized = normalized * self.weight.view(shape) + self.bias.view(shape)
        return normalized.to(features.dtype)

    def _check_input_dim(self, features: Tensor) -> None:
        if features.ndim not in _BY_AXES:
            raise ValueError(f"expected (B, C) and up to three axes, got {tuple(features.shape)}")

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor, count: float) -> None:
        """Update the running statistics as `torch.nn.BatchNorm2d` does: the variance without bias."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked += 1
        share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean), share)
        self.running_var.lerp_((variance * count / max(count - 1, 1)).to(self.running_var), share)


def share_batch_norm(network: nn.Module, device: torch.device) -> nn.Module:
    """Convert every batch normalization of a network to `SharedBatchNorm`, in place; weights stay the same.

    Args:
        network: changed in place, but for one that is a normalization itself.
        device: CUDA gets torch's own `SyncBatchNorm`.

    Returns:
        The network.
    """
    if device.type == "cuda":
        converted: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
        return converted
    if isinstance(network, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d):
        return _shared(network)
    for name, child in network.named_children():
        setattr(network, name, share_batch_norm(child, device))
    return network


def _shared(norm: _BatchNorm) -> SharedBatchNorm:
    tracked = norm.track_running_stats
    made = SharedBatchNorm(norm.num_features, norm.eps, norm.momentum, norm.affine, tracked)
    for name, parameter in norm.named_parameters(recurse=False):
        setattr(made, name, parameter)
    for name, buffer in norm.named_buffers(recurse=False):
        setattr(made, name, buffer)
    return made.train(norm.training)
