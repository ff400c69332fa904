"""The few convolutional blocks from which attention modules and decoders are built."""

from __future__ import annotations

import torch
from monai.networks.layers.factories import Conv, Norm
from torch import Tensor, nn
from torch.nn import functional as F

INTERPOLATION = {2: "bilinear", 3: "trilinear"}


def convolution(spatial_dims: int, in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> nn.Module:
    """Make a convolution that keeps the spatial size at stride 1, without a bias (a normalization follows).

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels that come in.
        out_channels: channels that go out.
        kernel: odd kernel size.
        stride: output size is ceil(size / stride).
    """
    layer: nn.Module = Conv[Conv.CONV, spatial_dims](
        in_channels, out_channels, kernel_size=kernel, stride=stride, padding=kernel // 2, bias=False
    )
    return layer


def conv_norm_relu(spatial_dims: int, in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> nn.Module:
    """Make a convolution, batch norm and ReLU; arguments as in `convolution`."""
    return nn.Sequential(
        convolution(spatial_dims, in_channels, out_channels, kernel, stride),
        Norm[Norm.BATCH, spatial_dims](out_channels),
        nn.ReLU(inplace=True),
    )


class UpBlock(nn.Module):
    """Upsample to the size of a skip connection, join it, and convolve twice.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the coarse features.
        skip_channels: channels of the skip connection.
        out_channels: channels that go out.
    """

    def __init__(self, spatial_dims: int, in_channels: int, skip_channels: int, out_channels: int) -> None:
        super().__init__()
        self.mode = INTERPOLATION[spatial_dims]
        self.convolve = nn.Sequential(
            conv_norm_relu(spatial_dims, in_channels + skip_channels, out_channels, 3),
            conv_norm_relu(spatial_dims, out_channels, out_channels, 3),
        )

    def forward(self, coarse: Tensor, skip: Tensor) -> Tensor:
        """Return (B, out_channels, *S) from coarse (B, in_channels, *s) and skip (B, skip_channels, *S)."""
        coarse = F.interpolate(coarse, size=skip.shape[2:], mode=self.mode, align_corners=False)
        joined: Tensor = self.convolve(torch.cat([coarse, skip], dim=1))
        return joined
