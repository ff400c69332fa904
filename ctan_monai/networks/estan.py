"""The encoders of MT-ESTAN: a ResNet with taps, the small-tumor path, and the bottleneck that merges them."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from monai.networks.nets.resnet import ResNet, ResNetBottleneck
from torch import Tensor, nn
from torch.nn import functional as F

from ctan_monai.networks.blocks import exporting

# divisor of all widths of the paper, and the ResNet's blocks of each stage
SIZES: dict[str, tuple[int, tuple[int, int, int, int]]] = {
    "base": (1, (3, 4, 6, 3)),
    "small": (4, (1, 1, 1, 1)),
    "tiny": (8, (1, 1, 1, 1)),
}
# kernels of the five blocks: first of branch a, short and long side and last of branch b, fusing one
_BLOCKS = ((1, 1, 15, 3, 5), (3, 1, 13, 3, 5), (3, 1, 11, 1, 3), (3, 1, 9, 3, 1), (3, 3, 7, 3, 1))
_SMALL_WIDTHS = (32, 64, 128, 256, 512)


class Taps(NamedTuple):
    """Features of the encoders for the decoders, for an image of spatial size S; R is the ResNet.

    Attributes:
        small: M^1 .. M^5 of the small-tumor path, (B, 32 .. 512, *S/1 .. *S/16).
        early: R's first convolution before its norm, then the second norm of the first block of each stage.
        out: R's stem, then the output of each stage.
        deepest: what the bottleneck starts from, (B, C, *S/32).
        bottleneck: the bottleneck's output, (B, 1024, *S/16).
        attended: what a classification is averaged from beside the bottleneck: nothing, or (B, C, *S/32).
    """

    small: list[Tensor]
    early: list[Tensor]
    out: list[Tensor]
    deepest: Tensor
    bottleneck: Tensor
    attended: list[Tensor]


class TappedResNet(nn.Module):
    """ResNet of bottleneck blocks with the taps of MT-ESTAN's decoder.

    Args:
        size: 'base' (ResNet-50), 'small' or 'tiny'.
        in_channels: channels of the image.

    Source: Shareef et al. 2023; He et al. 2016. Decides: C2 (docs/adr/0032): the taps are those of ResNet with the
    stride in the 3x3 convolution.
    """

    def __init__(self, size: str, in_channels: int) -> None:
        super().__init__()
        divisor, layers = SIZES[size]
        planes = [width // divisor for width in (64, 128, 256, 512)]
        network = ResNet(
            ResNetBottleneck,
            list(layers),
            planes,
            spatial_dims=2,
            n_input_channels=in_channels,
            conv1_t_size=7,
            conv1_t_stride=2,
            bias_downsample=False,
            feed_forward=False,
        )
        self.conv1, self.bn1, self.maxpool = network.conv1, network.bn1, network.maxpool
        stages = (network.layer1, network.layer2, network.layer3, network.layer4)
        self.stages = nn.ModuleList([TappedStage(stage) for stage in stages])
        self.early_channels = [planes[0], *planes]
        self.channels = [planes[0], *[width * ResNetBottleneck.expansion for width in planes]]

    def forward(self, image: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Return `Taps`' early and out for an image (B, C, H, W)."""
        first = self.conv1(image)
        early, out = [first], [F.relu(self.bn1(first))]
        x = self.maxpool(out[0])
        for stage in self.stages:
            tap, x = stage(x)
            early.append(tap)
            out.append(x)
        return early, out


class TappedStage(nn.Module):
    """Stage of bottleneck blocks that also returns the second norm's output of its first block."""

    def __init__(self, stage: Any) -> None:
        super().__init__()
        self.first: Any = stage[0]
        self.rest = stage[1:]

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return (B, planes, *s) and (B, 4 planes, *s)."""
        residual = self.first.downsample(x)
        tap = self.first.bn2(self.first.conv2(F.relu(self.first.bn1(self.first.conv1(x)))))
        x = F.relu(self.first.bn3(self.first.conv3(F.relu(tap))) + residual)
        return tap, self.rest(x)


def conv_relu(in_channels: int, out_channels: int, kernel: tuple[int, int], norm: bool = False) -> nn.Module:
    """Create a 'same' convolution with bias, ReLU, and an optional batch norm after it."""
    layers: list[nn.Module] = [
        nn.Conv2d(in_channels, out_channels, kernel, padding=(kernel[0] // 2, kernel[1] // 2)),
        nn.ReLU(),
    ]
    return nn.Sequential(*layers, *([nn.BatchNorm2d(out_channels)] if norm else []))


class SmallTumorBlock(nn.Module):
    """Small-tumor block: a branch of square kernels merged with one of row-column kernels.

    Args:
        in_channels: channels that come in.
        width: channels that go out.
        kernels: first of branch a, short and long side and last of branch b, fusing one.
        norm: batch norm after the first of branch a and the columns of branch b.

    Source: Shareef et al., "ESTAN", Healthcare 2022, section 2.2.
    """

    def __init__(self, in_channels: int, width: int, kernels: tuple[int, int, int, int, int], norm: bool) -> None:
        super().__init__()
        first, short, long, last, fuse = kernels
        self.square = nn.Sequential(
            conv_relu(in_channels, width, (first, first), norm), conv_relu(width, width, (3, 3))
        )
        self.row_column = nn.Sequential(
            conv_relu(in_channels, width, (short, long)),
            conv_relu(width, width, (long, short), norm),
            conv_relu(width, width, (last, last)),
        )
        self.fuse = conv_relu(2 * width, width, (fuse, fuse))

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, width, H, W) from (B, in_channels, H, W)."""
        fused: Tensor = self.fuse(torch.cat([self.square(x), self.row_column(x)], dim=1))
        return fused


class SmallTumorPath(nn.Module):
    """Small-tumor path: five blocks with max pooling between them, one level finer than the ResNet.

    Args:
        size: see `SIZES`.
        in_channels: channels of the image.
    """

    def __init__(self, size: str, in_channels: int) -> None:
        super().__init__()
        self.channels = [width // SIZES[size][0] for width in _SMALL_WIDTHS]
        incoming = [in_channels, *self.channels[:-1]]
        self.blocks = nn.ModuleList(
            [
                SmallTumorBlock(before, width, kernels, norm=index < 4)
                for index, (before, width, kernels) in enumerate(zip(incoming, self.channels, _BLOCKS, strict=True))
            ]
        )
        self.pool = nn.MaxPool2d(2, ceil_mode=True)  # odd sizes are rounded up, as by the ResNet

    def forward(self, image: Tensor) -> list[Tensor]:
        """Return M^1 .. M^5."""
        found: list[Tensor] = []
        x = image
        for index, block in enumerate(self.blocks):
            x = block(x if index == 0 else self.pool(x))
            found.append(x)
        return found


class Bottleneck(nn.Module):
    """Bottleneck: upsample the deepest features by a transposed convolution; merge M^5 and the ResNet's third stage."""

    def __init__(self, in_channels: int, width: int) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(in_channels, width, 2, 2)

    def forward(self, deepest: Tensor, small: Tensor) -> Tensor:
        """Return (B, 2 width, *S/16)."""
        return torch.cat([F.relu(crop(self.up(deepest), small)), small], dim=1)


def crop(x: Tensor, like: Tensor) -> Tensor:
    """Crop the output of a transposed convolution to an odd size."""
    height, width = like.shape[2], like.shape[3]
    if not torch.jit.is_scripting():  # noqa: SIM102  # TorchScript leaves out what stands in this branch alone
        if exporting():  # a slice would bind the file to sizes that are, or are not, odd
            rows, columns = torch.arange(height, device=x.device), torch.arange(width, device=x.device)
            return x.index_select(2, rows).index_select(3, columns)
    return x[:, :, :height, :width]
