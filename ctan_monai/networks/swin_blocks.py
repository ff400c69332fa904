"""The blocks of Swin Transformer V2: attention in (shifted) windows, and patch merging."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from monai.networks.layers.drop_path import DropPath
from torch import Tensor, nn
from torch.nn import functional as F

from ctan_monai.networks.blocks import exporting


class WindowAttention(nn.Module):
    """Window attention: scaled cosine attention with a log-spaced continuous position bias.

    The bias is computed anew in each forward pass in training; in eval mode it is kept until its weights change.

    Args:
        channels: of the tokens.
        heads: attention heads.
        window: rows and columns of a window, N = rows * columns.

    Source: Liu et al., "Swin Transformer V2", CVPR 2022, eqs. 2 to 4.
    """

    if TYPE_CHECKING:  # TorchScript would read these annotations
        relative_coords_table: Tensor
        relative_position_index: Tensor

    def __init__(self, channels: int, heads: int, window: tuple[int, int]) -> None:
        super().__init__()
        self.heads, self.tokens = heads, window[0] * window[1]
        self.logit_scale = nn.Parameter(torch.full((heads, 1, 1), math.log(10.0)))
        self.cpb_mlp = nn.Sequential(nn.Linear(2, 512), nn.ReLU(), nn.Linear(512, heads, bias=False))
        self.qkv = nn.Linear(channels, 3 * channels, bias=False)
        self.q_bias, self.v_bias = nn.Parameter(torch.zeros(channels)), nn.Parameter(torch.zeros(channels))
        self.proj = nn.Linear(channels, channels)
        self.register_buffer("relative_coords_table", _log_coordinates(window), persistent=False)
        self.register_buffer("relative_position_index", _relative_index(window), persistent=False)
        self._kept: tuple[Any, Tensor] | None = None

    def position_bias(self) -> Tensor:
        """Return the bias of each head for each pair of tokens, (heads, N, N)."""
        table = 16 * torch.sigmoid(self.cpb_mlp(self.relative_coords_table))  # (pairs of offsets, heads)
        bias: Tensor = table[self.relative_position_index].view(self.tokens, self.tokens, self.heads)
        return bias.permute(2, 0, 1).contiguous()

    @torch.jit.unused
    def _kept_bias(self) -> Tensor:
        """Return `position_bias`, cached for the same weights on the same device."""
        if self.training or torch.is_grad_enabled() or torch.compiler.is_compiling():
            self._kept = None
            return self.position_bias()
        weights = list(self.cpb_mlp.parameters())
        state = [(value.data_ptr(), value._version, value.dtype, value.device) for value in weights]
        key = (state, torch.is_autocast_enabled(weights[0].device.type))
        if self._kept is None or self._kept[0] != key:
            self._kept = (key, self.position_bias())
        return self._kept[1]

    def forward(self, tokens: Tensor, mask: Tensor | None) -> Tensor:
        """Return attended tokens (B, W, N, C).

        Args:
            tokens: (B, W, N, C), W windows of each image.
            mask: (W, N, N), added to the logits; None: all tokens of a window see each other.
        """
        batch, windows, count, channels = tokens.shape
        bias = torch.cat([self.q_bias, torch.zeros_like(self.v_bias), self.v_bias])
        qkv = F.linear(tokens, self.qkv.weight, bias).view(batch, windows, count, 3, self.heads, channels // self.heads)
        query, key, value = qkv.permute(3, 0, 1, 4, 2, 5).unbind(0)  # (B, W, heads, N, C / heads) each
        scale = torch.clamp(self.logit_scale, max=math.log(100.0)).exp()  # (heads, 1, 1)
        query, key = query * (scale * _inverse_lengths(query)), key * _inverse_lengths(key)
        added = self.position_bias() if torch.jit.is_scripting() else self._kept_bias()  # (heads, N, N)
        if mask is not None:
            added = added + mask.unsqueeze(1)  # (W, heads, N, N)
        added = added.to(value.dtype)
        out = _attend(query.to(value.dtype), key.to(value.dtype), value, added)
        projected: Tensor = self.proj(out.transpose(2, 3).reshape(batch, windows, count, channels))
        return projected


def _inverse_lengths(tokens: Tensor) -> Tensor:
    """Return 1 / length (..., 1) of vectors (..., C), at most 1e12; in single precision at least."""
    if tokens.dtype == torch.float16 or tokens.dtype == torch.bfloat16:
        tokens = tokens.float()  # squares of half precision overflow from 256 on
    return torch.rsqrt(tokens.square().sum(-1, keepdim=True).clamp_min(1e-24))


def _attend(query: Tensor, key: Tensor, value: Tensor, added: Tensor) -> Tensor:
    """Return softmax(query key^T + added) value, all (B, W, heads, N, C / heads) but ``added``."""
    fused = query.is_cuda
    if not torch.jit.is_scripting():
        fused = fused and not exporting()  # ONNX knows the function with four dimensions only
    if fused:
        return F.scaled_dot_product_attention(query, key, value, added, scale=1.0)
    # on a CPU a mask that needs a gradient leaves that function nothing but these products, with more passes
    return torch.softmax((query @ key.transpose(-2, -1)).add_(added), dim=-1) @ value


class Mlp(nn.Module):
    """MLP: two linear layers with a GELU between them."""

    def __init__(self, channels: int, ratio: int = 4) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(channels, ratio * channels), nn.Linear(ratio * channels, channels)
        self.act = nn.GELU()

    def forward(self, tokens: Tensor) -> Tensor:
        """Return (..., C) from (..., C)."""
        out: Tensor = self.fc2(self.act(self.fc1(tokens)))
        return out


class SwinBlock(nn.Module):
    """Swin block: attention in (shifted) windows and an MLP, each with a residual connection.

    Args:
        channels: of the tokens.
        heads: attention heads.
        window: rows and columns of a window.
        shift: rows and columns by which windows are shifted.
        pre_norm: normalize what comes in, as Swin V1, instead of what comes out (docs/adr/0032, C4).
        drop_path: probability that a residual branch is left out for a sample in training.

    Source: Liu et al. 2022, section 3.2 (res-post-norm).
    """

    def __init__(
        self,
        channels: int,
        heads: int,
        window: tuple[int, int],
        shift: tuple[int, int],
        pre_norm: bool = False,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        self.window, self.shift, self.pre_norm = window, shift, pre_norm
        self.attn, self.mlp = WindowAttention(channels, heads, window), Mlp(channels)
        self.norm1, self.norm2 = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.drop_path: nn.Module = DropPath(drop_path) if drop_path else nn.Identity()

    def forward(self, x: Tensor, mask: Tensor | None, down: int, across: int) -> Tensor:
        """Return (B, H, W, C) from (B, H, W, C), which is ``down`` windows high and ``across`` windows wide."""
        if self.pre_norm:
            x = x + self.drop_path(self._attend(self.norm1(x), mask, down, across))
            x = x + self.drop_path(self.mlp(self.norm2(x)))
        else:
            x = x + self.drop_path(self.norm1(self._attend(x, mask, down, across)))
            x = x + self.drop_path(self.norm2(self.mlp(x)))
        return x

    def _attend(self, x: Tensor, mask: Tensor | None, down: int, across: int) -> Tensor:
        batch, channels = x.shape[0], x.shape[3]
        rows, columns = self.window
        shifted = self.shift[0] + self.shift[1] > 0
        if shifted:
            x = torch.roll(x, [-self.shift[0], -self.shift[1]], [1, 2])
        x = x.view(batch, down, rows, across, columns, channels).transpose(2, 3)
        x = self.attn(x.reshape(batch, down * across, rows * columns, channels), mask)
        x = x.view(batch, down, across, rows, columns, channels).transpose(2, 3)
        x = x.reshape(batch, down * rows, across * columns, channels)
        if shifted:
            x = torch.roll(x, [self.shift[0], self.shift[1]], [1, 2])
        return x


class PatchMerging(nn.Module):
    """Patch merging: concatenate the four tokens of each 2 x 2 square, and map them to twice the channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reduction, self.norm = nn.Linear(4 * channels, 2 * channels, bias=False), nn.LayerNorm(2 * channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, H / 2, W / 2, 2 C) from (B, H, W, C), H and W even."""
        squares = [x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2]]  # the checkpoints' order
        merged: Tensor = self.norm(self.reduction(torch.cat(squares, dim=-1)))
        return merged


def window_mask(x: Tensor, window: tuple[int, int], shift: tuple[int, int]) -> Tensor | None:
    """Return the attention mask of shifted windows and padding.

    Args:
        x: (B, H, W, C), not padded yet.
        window: rows and columns of a window.
        shift: rows and columns by which windows are shifted.

    Returns:
        (windows, N, N), to be added to logits, or None where all tokens of all windows see each other.
    """
    height, width = x.shape[1], x.shape[2]
    whole = shift[0] + shift[1] == 0 and height % window[0] == 0 and width % window[1] == 0
    if whole:
        return None
    row, row_seen = _regions(height, window[0], shift[0], x)
    column, column_seen = _regions(width, window[1], shift[1], x)
    region = 3 * row[:, None, :, None] + column[None, :, None, :]  # (down, across, rows, columns)
    region = region.reshape(-1, window[0] * window[1])
    seen = (row_seen[:, None, :, None] & column_seen[None, :, None, :]).reshape(-1, window[0] * window[1])
    allowed = (region[:, :, None] == region[:, None, :]) & seen[:, None, :]
    masked = -1e4  # a logit that no softmax sees; finite, so that rows without any key have a gradient
    return torch.zeros_like(allowed, dtype=x.dtype).masked_fill(~allowed, masked)


def _regions(size: int, window: int, shift: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Number the regions along one axis after the shift, and mark what is no padding; (windows, window) each."""
    whole = size + (-size % window)
    place = torch.arange(whole, device=like.device)
    region = torch.zeros_like(place)
    if shift > 0:
        region = (place >= whole - window).long() + (place >= whole - shift).long()
    seen = torch.remainder(place + shift, whole) < size
    return region.view(-1, window), seen.view(-1, window)


def _log_coordinates(window: tuple[int, int]) -> Tensor:
    """Return the log-spaced offsets between tokens, ((2 rows - 1) (2 columns - 1), 2); Liu et al. 2022, eq. 4."""
    axes = [torch.arange(1 - size, size, dtype=torch.float32) / max(size - 1, 1) for size in window]
    offsets = 8 * torch.stack(torch.meshgrid(axes, indexing="ij"), dim=-1).view(-1, 2)
    return torch.sign(offsets) * torch.log2(offsets.abs() + 1) / math.log2(8)


def _relative_index(window: tuple[int, int]) -> Tensor:
    """Return, for each pair of tokens, the row of `_log_coordinates` that holds their offset, (N * N)."""
    rows, columns = torch.meshgrid(*[torch.arange(size) for size in window], indexing="ij")
    rows, columns = rows.flatten(), columns.flatten()
    down = rows[:, None] - rows[None, :] + window[0] - 1
    across = columns[:, None] - columns[None, :] + window[1] - 1
    return (down * (2 * window[1] - 1) + across).flatten()
