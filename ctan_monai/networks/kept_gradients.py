"""Operations on kernels most of which are masked later, whose backward passes leave the masked ones out.

Values and gradients are those of the plain operations, up to the order of sums. For a CPU: elsewhere the processor
would have to wait for the mask.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, image: Tensor, weight: Tensor, kept: Tensor, stride: list[int]) -> Tensor:
        ctx.save_for_backward(image, weight, kept)
        ones = [1] * (image.dim() - 2)
        ctx.options = None, stride, [size // 2 for size in weight.shape[2:]], ones, False, [0] * len(ones), 1
        return torch.convolution(image, weight, *ctx.options)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor, None, None]:
        image, weight, kept = ctx.saved_tensors
        to_image, to_weight = bool(ctx.needs_input_grad[0]), torch.zeros_like(weight)
        if not len(kept):
            return (torch.zeros_like(image) if to_image else None), to_weight, None, None
        own, masks = gradients[0].index_select(1, kept), [to_image, True, False]
        found = torch.ops.aten.convolution_backward(own, image, weight[kept], *ctx.options, masks)
        return found[0], to_weight.index_copy_(0, kept, found[1]), None, None


class _PReLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, slope: Tensor, mask: Tensor, kept: Tensor) -> Tensor:
        active = torch.prelu(features, slope)
        ctx.save_for_backward(features, slope, active, kept)
        return active * _over_space(mask, features)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        features, slope, active, kept = ctx.saved_tensors
        to_mask = (gradients[0] * active).sum([0, *range(2, features.dim())])
        own, at = (value.index_select(1, kept) for value in (gradients[0], features))
        found, to_slope = torch.ops.aten._prelu_kernel_backward(own, at, _over_space(slope, features))
        return torch.zeros_like(features).index_copy_(1, kept, found), to_slope.sum().reshape(1), to_mask, None


def kept_convolution(image: Tensor, weight: Tensor, kept: Tensor, stride: Sequence[int] | None = None) -> Tensor:
    """Convolve with 'same' padding, (B, C, *S) to (B, K, *S / stride).

    Args:
        image: (B, C, *S).
        weight: (K, C, *k), of odd sizes.
        kept: numbers of the kernels whose answers are not masked later, ascending.
        stride: along each axis; None: 1.
    """
    run: Any = _Convolution.apply  # torch leaves its type open
    found: Tensor = run(image, weight, kept, list(stride or [1] * (image.dim() - 2)))
    return found


def kept_prelu(features: Tensor, slope: Tensor, mask: Tensor, kept: Tensor) -> Tensor:
    """Apply PReLU and a mask to (B, K, *S).

    Args:
        features: (B, K, *S).
        slope: (1,), for negative values.
        mask: (K,) of 0 and 1; gets its gradient everywhere.
        kept: where it is 1.
    """
    run: Any = _PReLU.apply
    found: Tensor = run(features, slope, mask, kept)
    return found


def kept_kernels(z: Tensor) -> list[Tensor]:
    """Return by group the kernels that a sampled grouping keeps; nothing where leaving others out is not worth it.

    Args:
        z: (1 or B, K, G) of 0 and 1.
    """
    if len(z) > 1 or z.device.type != "cpu" or torch.is_autocast_enabled("cpu") or torch.compiler.is_compiling():
        return []
    return [column.nonzero().flatten() for column in z[0].detach().unbind(dim=1)]


def _over_space(values: Tensor, features: Tensor) -> Tensor:
    return values.reshape(1, -1, *[1] * (features.dim() - 2))
