"""The shared ResNet encoder: MONAI's in torchvision's layout, with two features of each stage."""

from __future__ import annotations

from typing import NamedTuple

from monai.networks.nets.resnet import ResNet, ResNetBlock, ResNetBottleneck
from torch import Tensor, nn

from ctan_monai.errors import ConfigError, check_choice
from ctan_monai.networks.blocks import conv_norm_relu

STAGE_PLANES = (64, 128, 256, 512)
ARCHITECTURES: dict[str, tuple[type[ResNetBlock | ResNetBottleneck], tuple[int, int, int, int]]] = {
    "resnet18": (ResNetBlock, (2, 2, 2, 2)),
    "resnet34": (ResNetBlock, (3, 4, 6, 3)),
    "resnet50": (ResNetBottleneck, (3, 4, 6, 3)),
    "resnet101": (ResNetBottleneck, (3, 4, 23, 3)),
}


class Features(NamedTuple):
    """Features of an encoder for attention modules and decoders, for an image of spatial size S.

    Attributes:
        shallow: features finer than stage 1, coarse to fine; the last is the image itself unless stage 1 has its size.
        u: U^j, the first part of each of the four stages, (B, C_j, *S_j).
        p: P^j, the output of each stage, of the same shape as U^j.
    """

    shallow: list[Tensor]
    u: list[Tensor]
    p: list[Tensor]


class Stage(nn.Module):
    """One stage of a ResNet, split into the blocks that compute U^j and those that compute P^j from it."""

    def __init__(self, first: nn.Module, last: nn.Module) -> None:
        super().__init__()
        self.first, self.last = first, last

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return U^j and P^j, both (B, C_j, *S_j)."""
        u = self.first(features)
        return u, self.last(u)


class ResNetEncoder(nn.Module):
    """ResNet encoder of four stages.

    Sizes: with ``stem='resnet'`` stage j has 1/2^(j+1) of the image's size, rounded up.

    Args:
        name: 'resnet18', 'resnet34', 'resnet50' or 'resnet101'.
        spatial_dims: 2 or 3.
        in_channels: channels of the image.
        stem: 'resnet' (7x7, stride 2, max pooling) or 'conv3x3'.
        stem_stride: 1, 2 or 4, for 'conv3x3' only; 1 is the paper's literal network at 16 times the cost.
        split: how many residual blocks follow U^j in a stage, 'two' (CTAN's Alg. 1) or 'one' (MTAN);
            None takes 'two' where every stage has three blocks and 'one' elsewhere (ResNet-18).

    Raises:
        ConfigError: an option is unknown, or the split leaves a stage without a first part.

    Source: CTAN section 2.1 and Alg. 1. Decides: A1 (stem), A2 (split).
    """

    def __init__(
        self,
        name: str = "resnet50",
        spatial_dims: int = 2,
        in_channels: int = 1,
        stem: str = "resnet",
        stem_stride: int = 1,
        split: str | None = None,
    ) -> None:
        super().__init__()
        _check_options(name, spatial_dims, stem, stem_stride, split)
        block, layers = ARCHITECTURES[name]
        network = ResNet(
            block,
            list(layers),
            list(STAGE_PLANES),
            spatial_dims=spatial_dims,
            n_input_channels=in_channels,
            conv1_t_size=7,
            conv1_t_stride=2,
            bias_downsample=False,
            feed_forward=False,
        )
        tail = 1 if split == "one" or (split is None and min(layers) < 3) else 2
        if min(layers) <= tail:
            raise ConfigError(
                "split", f"'two' leaves nothing of {name}'s stages of {layers} blocks for U.", "Use split 'one'."
            )
        self.name, self.spatial_dims, self.expansion = name, spatial_dims, int(block.expansion)
        self.channels = [plane * block.expansion for plane in STAGE_PLANES]
        self.stem, self.pool, self.shallow_channels = _make_stem(network, stem, stem_stride, spatial_dims, in_channels)
        stages = [network.layer1, network.layer2, network.layer3, network.layer4]
        self.stages = nn.ModuleList([Stage(stage[:-tail], stage[-tail:]) for stage in stages])

    def forward(self, image: Tensor) -> Features:
        """Return the features of an image (B, in_channels, *S).

        Raises:
            ValueError: the image has another number of spatial dimensions.
        """
        if image.dim() != self.spatial_dims + 2:
            raise ValueError(f"expected an image of {self.spatial_dims + 2} dimensions (B, C, *S), got {image.shape}.")
        embedding = self.stem(image)  # (B, 64, *S/2) with the ResNet stem
        shallow = shallow_features(len(self.shallow_channels), embedding, image)
        x = self.pool(embedding)  # S^0: (B, 64, *S/4)
        u: list[Tensor] = []
        p: list[Tensor] = []
        for stage in self.stages:
            first, x = stage(x)  # U^j, P^j: (B, C_j, *S_j)
            u.append(first)
            p.append(x)
        return Features(shallow, u, p)


def shallow_features(count: int, embedding: Tensor, image: Tensor) -> list[Tensor]:
    """Return `Features.shallow`, of 0, 1 or 2 tensors, from the stem's output and the image."""
    found = [embedding, image]
    return found[2 - count :]


def _check_options(name: str, spatial_dims: int, stem: str, stem_stride: int, split: str | None) -> None:
    check_choice("encoder", name, tuple(ARCHITECTURES))
    check_choice("spatial_dims", spatial_dims, (2, 3))
    check_choice("stem", stem, ("resnet", "conv3x3"))
    check_choice("stem_stride", stem_stride, (1, 2, 4))
    check_choice("split", split, (None, "one", "two"))


def _make_stem(
    network: ResNet, stem: str, stride: int, spatial_dims: int, in_channels: int
) -> tuple[nn.Module, nn.Module, list[int]]:
    """Create the stem and its pooling; return them and the channels of features finer than stage 1."""
    width = STAGE_PLANES[0]
    if stem == "resnet":
        return nn.Sequential(network.conv1, network.bn1, network.act), network.maxpool, [width, in_channels]
    convolution = conv_norm_relu(spatial_dims, in_channels, width, 3, min(stride, 2))
    if stride == 4:
        return convolution, network.maxpool, [width, in_channels]
    return convolution, nn.Identity(), [in_channels] if stride == 2 else []


def torchvision_name(encoder_key: str) -> str:
    """Translate a key of the encoder's ``state_dict`` to torchvision's ``resnet*`` layout.

    Args:
        encoder_key: for example 'stages.2.last.4.conv1.weight'; blocks keep their number in the stage.

    Returns:
        For example 'layer3.4.conv1.weight'.
    """
    part, *rest = encoder_key.split(".")
    if part == "stem":
        return ".".join([{"0": "conv1", "1": "bn1"}[rest[0]], *rest[1:]])
    return ".".join([f"layer{int(rest[0]) + 1}", *rest[2:]])
