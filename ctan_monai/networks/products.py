"""The attention products of CTAN's bottleneck; each maps two embeddings to one of the same shape.

All are computed in 32 bits: the products of the paper grow with the third power of the embedding, and overflow
half precision at sizes that occur (docs/adr/0004, A9).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class AttentionProduct(nn.Module):
    """Base class of the products: 32-bit arithmetic, and the scale of docs/adr/0004, A9.

    Args:
        scale: 'n_sqrt_d' divides the inner product by N and the result by sqrt(d), 'n_d' by N and d, 'none' not at all.
    """

    scales = ("n_sqrt_d", "n_d", "none")

    def __init__(self, scale: str = "n_sqrt_d") -> None:
        super().__init__()
        self.scale = scale

    def forward(self, query: Tensor, others: Tensor) -> Tensor:
        """Return (B, d, N) from E_t^T and E_t'^T, both (B, d, N); under autocast in 32 bits."""
        if torch.jit.is_scripting():
            return self.product(query.float(), others.float()).to(query.dtype)
        kind = query.device.type
        if kind == "meta" or not torch.is_autocast_enabled(kind):  # a region without autocast cannot be exported
            return self.product(query.float(), others.float()).to(query.dtype)
        with torch.autocast(device_type=kind, enabled=False):
            return self.product(query.float(), others.float())

    def product(self, query: Tensor, others: Tensor) -> Tensor:
        """Return (B, d, N) from two (B, d, N) in 32 bits."""
        raise TypeError("AttentionProduct is a base class; use one of PRODUCTS.")

    def factors(self, width: int, positions: int) -> tuple[float, float]:
        """Return the scales of the inner product and of the result."""
        if self.scale == "none":
            return 1.0, 1.0
        return 1.0 / positions, 1.0 / math.sqrt(width) if self.scale == "n_sqrt_d" else 1.0 / width


class ChannelProduct(AttentionProduct):
    """Compute E_t (E_t'^T E_t) with E of shape N x d: channel attention. Source: CTAN eq. 2; A8.

    With E of shape d x N, positions attend to positions, and it is the same product bracketed otherwise. So where there
    are fewer positions than channels, E_t'^T E_t of that shape (N x N) is formed first, for 4 N^2 d operations.
    """

    def product(self, query: Tensor, others: Tensor) -> Tensor:
        """See the base class."""
        inner_factor, outer_factor = self.factors(query.shape[1], query.shape[2])
        by_size = torch.jit.is_scripting() or not torch.compiler.is_compiling()  # else one choice, for all sizes
        if by_size and query.shape[2] < query.shape[1]:
            inner = torch.matmul(others.transpose(1, 2), query) * (inner_factor * outer_factor)  # (B, N, N)
            return torch.matmul(query, inner)  # (B, d, N)
        inner = torch.matmul(query, others.transpose(1, 2)) * inner_factor  # (E_t'^T E_t)^T: (B, d, d)
        return torch.matmul(inner, query) * outer_factor  # (B, d, N)


class SoftmaxProduct(AttentionProduct):
    """Compute softmax(E_t' E_t^T / sqrt(d)) E_t: cross attention. Source: Vaswani et al. 2017 eq. 1; A8."""

    def product(self, query: Tensor, others: Tensor) -> Tensor:
        """See the base class."""
        inner = torch.matmul(others.transpose(1, 2), query) / math.sqrt(query.shape[1])  # (B, N of E_t', N of E_t)
        return torch.matmul(query, inner.softmax(-1).transpose(1, 2))  # (B, d, N)


class XcaProduct(AttentionProduct):
    """Compute E_t softmax(E_t^T E_t') with channels of unit length. Source: El-Nouby et al. 2021 (XCiT); A8."""

    def product(self, query: Tensor, others: Tensor) -> Tensor:
        """See the base class."""
        inner = torch.matmul(F.normalize(query, dim=2), F.normalize(others, dim=2).transpose(1, 2))  # (B, d, d)
        return torch.matmul(inner.softmax(-1).transpose(1, 2), query)  # (B, d, N)


PRODUCTS: dict[str, type[AttentionProduct]] = {
    "channel": ChannelProduct,
    "softmax": SoftmaxProduct,
    "xca": XcaProduct,
}
