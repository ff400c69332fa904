"""Convolutional blocks of attention modules and decoders."""

from __future__ import annotations

import torch
from monai.networks.layers.factories import Conv, Norm, Pool
from monai.networks.nets.resnet import ResNetBlock, ResNetBottleneck
from torch import Tensor, nn
from torch.nn import functional as F

INTERPOLATION = {2: "bilinear", 3: "trilinear"}


def convolution(spatial_dims: int, in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> nn.Module:
    """Create a convolution with 'same' padding, without a bias (a normalization follows).

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
    """Create a convolution, batch norm and ReLU; arguments as in `convolution`."""
    return nn.Sequential(
        convolution(spatial_dims, in_channels, out_channels, kernel, stride),
        Norm[Norm.BATCH, spatial_dims](out_channels),
        nn.ReLU(inplace=True),
    )


class ChannelRMSNorm(nn.Module):
    """Divide features (B, C, *S) at each position by their root mean square over the channels.

    Source: Zhang and Sennrich 2019, eq. 4, without weights.
    """

    def forward(self, features: Tensor) -> Tensor:
        """Return (B, C, *S) of unit root mean square over C; 0 stays 0."""
        square = features.float().square().mean(dim=1, keepdim=True)  # in 32 bits, as half precision overflows
        return (features * (square + 1e-6).rsqrt()).to(features.dtype)


def conv_norm_unit(spatial_dims: int, in_channels: int, out_channels: int, kernel: int) -> nn.Module:
    """Create a convolution, batch norm, and a norm over each position's channels; arguments as in `convolution`."""
    return nn.Sequential(
        convolution(spatial_dims, in_channels, out_channels, kernel),
        Norm[Norm.BATCH, spatial_dims](out_channels),
        ChannelRMSNorm(),
    )


def project_query(spatial_dims: int, in_channels: int, out_channels: int) -> nn.Module:
    """Create a 1x1 convolution, a norm over each sample and ReLU, for the deepest features of a task.

    Their scale differs too much from batch to batch for running statistics (docs/adr/0029).

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels that come in.
        out_channels: channels that go out.
    """
    return nn.Sequential(
        convolution(spatial_dims, in_channels, out_channels, 1), nn.GroupNorm(1, out_channels), nn.ReLU(inplace=True)
    )


def residual_block(spatial_dims: int, in_channels: int, out_channels: int, expansion: int) -> nn.Module:
    """Create a ResNet block with a 1x1 shortcut, at stride 1.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels that come in.
        out_channels: channels that go out.
        expansion: 1 for two 3x3 convolutions (ResNet-18), 4 for 1x1, 3x3, 1x1 (ResNet-50).
    """
    block = ResNetBottleneck if expansion == ResNetBottleneck.expansion else ResNetBlock
    shortcut = nn.Sequential(
        convolution(spatial_dims, in_channels, out_channels, 1), Norm[Norm.BATCH, spatial_dims](out_channels)
    )
    made: nn.Module = block(in_channels, out_channels // block.expansion, spatial_dims, downsample=shortcut)
    return made


def pool_layer(
    spatial_dims: int, fused: int, channels: int, next_channels: int | None, kind: str, expansion: int
) -> nn.Module:
    """Create the pooling layer of an attention stage; ceil_mode gives the size of a ResNet's strided convolutions.

    Args:
        spatial_dims: 2 or 3.
        fused: channels that come in, C_j, or 2 C_j of mask and features.
        channels: C_j of the stage.
        next_channels: C_(j+1); None at the last stage, where nothing is pooled.
        kind: 'bottleneck', 'conv3x3' or 'residual'.
        expansion: of a 'residual' block, see `residual_block`.
    """
    if next_channels is None:
        return nn.Identity() if fused == channels else conv_norm_relu(spatial_dims, fused, channels, 1)
    # conv, BN, max pooling, ReLU gives what conv, BN, ReLU, max pooling gives, with a ReLU on 2^s times fewer values
    halve = [Pool[Pool.MAX, spatial_dims](2, ceil_mode=True), nn.ReLU(inplace=True)]
    if kind == "residual":
        return nn.Sequential(residual_block(spatial_dims, fused, next_channels, expansion), halve[0])
    norm = Norm[Norm.BATCH, spatial_dims](next_channels)
    if kind == "conv3x3":
        return nn.Sequential(convolution(spatial_dims, fused, next_channels, 3), norm, *halve)
    inner = next_channels // 4
    return nn.Sequential(
        conv_norm_relu(spatial_dims, fused, inner, 1),
        conv_norm_relu(spatial_dims, inner, inner, 3),
        convolution(spatial_dims, inner, next_channels, 1),
        norm,
        *halve,
    )


class UpBlock(nn.Module):
    """Upsample to the size of a skip connection, concatenate it, and convolve twice.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the coarse features.
        skip_channels: channels of the skip connection.
        out_channels: channels that go out.
        project: first bring the skip connection to out_channels by a 1x1 convolution.
    """

    def __init__(
        self, spatial_dims: int, in_channels: int, skip_channels: int, out_channels: int, project: bool = False
    ) -> None:
        super().__init__()
        self.mode = INTERPOLATION[spatial_dims]
        self.project: nn.Module = nn.Identity()
        if project:
            self.project = conv_norm_relu(spatial_dims, skip_channels, out_channels, 1)
            skip_channels = out_channels
        self.convolve = nn.Sequential(
            conv_norm_relu(spatial_dims, in_channels + skip_channels, out_channels, 3),
            conv_norm_relu(spatial_dims, out_channels, out_channels, 3),
        )

    def forward(self, coarse: Tensor, skip: Tensor) -> Tensor:
        """Return (B, out_channels, *S) from coarse (B, in_channels, *s) and skip (B, skip_channels, *S)."""
        coarse = F.interpolate(coarse, size=skip.shape[2:], mode=self.mode, align_corners=False)
        joined: Tensor = self.convolve(torch.cat([coarse, self.project(skip)], dim=1))
        return joined


def exporting() -> bool:
    """Tell whether torch.export follows the forward pass; torch 2.6 cannot tell it from torch.compile."""
    return bool(getattr(torch.compiler, "is_exporting", torch.compiler.is_compiling)())
