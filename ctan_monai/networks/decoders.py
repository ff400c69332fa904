"""Decoders: from the deepest features and the encoder's skip connections to one task's logits.

`decoder_for` chooses by the kind of task; all decoders are called alike, so that networks treat tasks alike.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import singledispatch
from typing import Any

import torch
from monai.networks.layers.factories import Conv, Pool
from torch import Tensor, nn
from torch.nn import functional as F

from ctan_monai.errors import check_choice
from ctan_monai.networks.blocks import INTERPOLATION, UpBlock, conv_norm_relu, project_query
from ctan_monai.networks.encoder import Features
from ctan_monai.tasks import Classification, Regression, Segmentation, Task, unregistered

PIXEL_WIDTHS = (512, 256, 128, 64)  # deepest first; docs/adr/0004, A12
FULL_RESOLUTION_WIDTHS = (32, 16)  # docs/adr/0004, A12b
IMAGE_WIDTHS = (64, 128, 256, 256)  # docs/adr/0004, A13
LABEL_PRIOR = (
    0.01  # fraction of voxels that a new segmentation head expects in its labels (Lin et al. 2017, section 4.1)
)


@dataclass(frozen=True)
class DecoderPlan:
    """Sizes of the encoder and options of decoders, the same for every method.

    Args:
        spatial_dims: 2 or 3.
        channels: C_1 .. C_4 of the encoder's stages.
        shallow_channels: channels of the features finer than stage 1, coarse to fine.
        query_channels: channels of the deepest features that a decoder starts from.
        join: how pixel decoders join what they read: 'project' brings the skips to the width of the block's output, and
            the query to the path's; 'wide' takes them as they are (docs/adr/0029).
        full_resolution: end at the image's size instead of interpolating the logits (pixel level; docs/adr/0004, A12b).
        skips: 'u' or 'p', which part of each stage is joined (docs/adr/0004, A12).
        deepest_skip: whether stage 4 is joined too (docs/adr/0004).
        image_level: 'pyramid', 'late_query' or 'bottleneck', see `ImageDecoder` (docs/adr/0004, A13).
        slice_score: image-level decoders return one channel more, see `ScoredHead`.

    Raises:
        ConfigError: an option is unknown.
    """

    spatial_dims: int
    channels: tuple[int, ...]
    shallow_channels: tuple[int, ...]
    query_channels: int
    join: str = "project"
    full_resolution: bool = False
    skips: str = "u"
    deepest_skip: bool = True
    image_level: str = "pyramid"
    slice_score: bool = False

    def __post_init__(self) -> None:
        """Check the options."""
        check_choice("join", self.join, ("project", "wide"))
        check_choice("skips", self.skips, ("u", "p"))
        check_choice("image_level", self.image_level, ("pyramid", "late_query", "bottleneck"))


class PixelDecoder(nn.Module):
    """Decode voxel-level logits as a U-Net does.

    Args:
        plan: sizes and options.
        out_channels: channels of the answer.

    Source: CTAN section 2.1 ("three up-sampling blocks ... followed by 1x1 conv"). Decides: A12, A12b.
    """

    def __init__(self, plan: DecoderPlan, out_channels: int) -> None:
        super().__init__()
        self.skips, self.deepest_skip = plan.skips, plan.deepest_skip
        self.mode, dims, width = INTERPOLATION[plan.spatial_dims], plan.spatial_dims, PIXEL_WIDTHS[0]
        project = plan.join == "project"
        self.query: nn.Module = nn.Identity()
        self.deepest: nn.Module = nn.Identity()
        deepest = plan.query_channels + (plan.channels[-1] if plan.deepest_skip else 0)
        if project and plan.deepest_skip:
            self.query = project_query(dims, plan.query_channels, width)
            self.deepest = conv_norm_relu(dims, plan.channels[-1], width, 1)
            deepest = 2 * width
        self.join = conv_norm_relu(dims, deepest, width, 1)
        blocks, fine = [], []
        for skip, out in zip(reversed(plan.channels[:-1]), PIXEL_WIDTHS[1:], strict=True):
            blocks.append(UpBlock(dims, width, skip, out, project))
            width = out
        shallow = plan.shallow_channels if plan.full_resolution else ()
        for skip, out in zip(shallow, FULL_RESOLUTION_WIDTHS[-len(shallow) :] if shallow else (), strict=True):
            fine.append(UpBlock(dims, width, skip, out, project and skip > out))  # the image stays as it is
            width = out
        self.up, self.fine = nn.ModuleList(blocks), nn.ModuleList(fine)
        self.head = Conv[Conv.CONV, plan.spatial_dims](width, out_channels, kernel_size=1)

    def inputs(self) -> dict[str, tuple[int | str, ...]]:
        """Return the sites of the arguments that `forward` reads, by label, see `parts.Site`."""
        finest = ("stem", "image")[-len(self.fine) :] if len(self.fine) else ()
        shallow: dict[str, tuple[int | str, ...]] = {name: (1, "shallow", index) for index, name in enumerate(finest)}
        return {"query": (0,), **_skip_inputs(self.skips, 4 if self.deepest_skip else 3), **shallow}

    def forward(self, query: Tensor, features: Features, image: Tensor) -> Tensor:
        """Return logits (B, out_channels, *S).

        Args:
            query: (B, query_channels, *S_4), the deepest features of the task.
            features: the encoder's.
            image: (B, C, *S), which gives the size.
        """
        skips = features.u if self.skips == "u" else features.p
        joined = query
        if self.deepest_skip:
            joined = torch.cat([self.query(query), self.deepest(skips[3])], dim=1)
        x = self.join(joined)  # (B, 512, *S_4)
        for index, block in enumerate(self.up):
            x = block(x, skips[2 - index])  # (B, 256 | 128 | 64, *S_(3-index))
        for index, block in enumerate(self.fine):
            x = block(x, features.shallow[index])  # (B, 32 | 16, *S/2 | *S)
        logits: Tensor = self.head(x)
        if logits.shape[2:] != image.shape[2:]:
            logits = F.interpolate(logits, size=image.shape[2:], mode=self.mode, align_corners=False)
        return logits


class ImageDecoder(nn.Module):
    """Decode image-level logits: four strided convolutions that take in the four skips, then a linear layer.

    Args:
        plan: sizes and options; 'pyramid' walks from U^1 down and joins the query with U^4, 'late_query' joins it after
            the walk, averaged and as wide, 'bottleneck' starts from it and joins the skips pooled to its size.
        out_channels: channels of the answer.

    Source: CTAN section 2.1 ("skip connections and four down-sampling layers, GAP, FC"). Decides: A13.
    """

    def __init__(self, plan: DecoderPlan, out_channels: int) -> None:
        super().__init__()
        self.skips, self.pyramid = plan.skips, plan.image_level != "bottleneck"
        self.late, width = plan.image_level == "late_query", IMAGE_WIDTHS[-1]
        first, second, third, fourth = plan.channels
        if self.pyramid:
            start, joined = first, [second, third, fourth + (0 if self.late else plan.query_channels)]
        else:
            start, joined = plan.query_channels + fourth, [third, second, first]
        incoming = [start] + [width + skip for width, skip in zip(IMAGE_WIDTHS[:-1], joined, strict=True)]
        self.down = nn.ModuleList(
            [
                conv_norm_relu(plan.spatial_dims, channels, width, 3, stride=2)
                for channels, width in zip(incoming, IMAGE_WIDTHS, strict=True)
            ]
        )
        self.average = Pool[Pool.ADAPTIVEAVG, plan.spatial_dims](1)
        self.query: nn.Module = nn.Identity()
        if self.late:
            self.query, width = project_query(plan.spatial_dims, plan.query_channels, width), 2 * width
        self.head: nn.Module = nn.Linear(width, out_channels)
        if plan.slice_score:
            self.head = ScoredHead(self.head, width)

    def inputs(self) -> dict[str, tuple[int | str, ...]]:
        """Return the sites of the arguments that `forward` reads, as for `PixelDecoder`."""
        return {"query": (0,), **_skip_inputs(self.skips, 4)}

    def forward(self, query: Tensor, features: Features, image: Tensor) -> Tensor:
        """Return logits (B, out_channels), with a score (B, out_channels + 1); arguments as for `PixelDecoder`."""
        skips = features.u if self.skips == "u" else features.p
        x = skips[0] if self.pyramid else query  # (B, C_1, *S_1) or (B, query_channels, *S_4)
        for level, down in enumerate(self.down):
            if self.pyramid:
                if level > 0:
                    x = torch.cat([x, skips[level]], dim=1)
                if level == 3 and not self.late:
                    x = torch.cat([x, query], dim=1)
            else:
                x = torch.cat([x, _pooled(skips[3 - level], x)], dim=1)
            x = down(x)  # (B, 64 | 128 | 256 | 256, half the size)
        averaged = self.average(x).flatten(1)  # (B, 256)
        if self.late:
            averaged = torch.cat([averaged, self.average(self.query(query)).flatten(1)], dim=1)  # (B, 512)
        logits: Tensor = self.head(averaged)
        return logits


class ScoredHead(nn.Module):
    """Linear head with an attention score, by which several images of one case are pooled.

    The score is the gated attention w (tanh(V h) * sigmoid(U h)) of the image's features h, before its softmax over
    the images of a case. As these weights add up to 1 and the answer is linear in h, pooling the logits with them is
    the same as pooling the features first.

    Args:
        head: from features (B, channels) to logits (B, K).
        channels: of the features.
        width: rows of V and U.

    Source: Ilse, Tomczak, Welling, "Attention-based deep multiple instance learning", ICML 2018, eq. 9.
    """

    def __init__(self, head: nn.Module, channels: int, width: int = 64) -> None:
        super().__init__()
        self.head, self.value, self.gate = head, nn.Linear(channels, width), nn.Linear(channels, width)
        self.score = nn.Linear(width, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Return (B, K + 1) from (B, channels): the logits, then the score."""
        score = self.score(torch.tanh(self.value(features)) * torch.sigmoid(self.gate(features)))  # (B, 1)
        return torch.cat([self.head(features), score], dim=1)


def _skip_inputs(skips: str, count: int) -> dict[str, tuple[int | str, ...]]:
    """Return the sites of the skip connections of the first stages, the deepest first."""
    return {f"{skips.upper()}^{stage}": (1, skips, stage - 1) for stage in range(count, 0, -1)}


def _pooled(skip: Tensor, like: Tensor) -> Tensor:
    """Average-pool a skip connection to the spatial size of ``like``."""
    if skip.dim() == 4:
        return F.adaptive_avg_pool2d(skip, (like.shape[2], like.shape[3]))
    return F.adaptive_avg_pool3d(skip, (like.shape[2], like.shape[3], like.shape[4]))


def expect_few_voxels(head: Any, task: Segmentation) -> None:
    """Initialize a convolution's bias so that a new network predicts `LABEL_PRIOR` for each label."""
    with torch.no_grad():  # labels are rare: start from that prior, not from one half
        head.bias.fill_(math.log(LABEL_PRIOR / (1 - LABEL_PRIOR)))
        if not task.overlapping:
            head.bias[0] = math.log(len(task.labels))  # softmax: the background has 1 - LABEL_PRIOR


@singledispatch
def decoder_for(task: Task, plan: DecoderPlan) -> nn.Module:
    """Create the decoder of a task.

    Args:
        task: the task.
        plan: sizes and options.

    Returns:
        A module called as ``decoder(query, features, image)`` that returns the task's logits.

    Raises:
        ConfigError: no decoder is known for this kind of task.
    """
    raise unregistered(task, "decoder", "decoder_for")


@decoder_for.register
def _(task: Segmentation, plan: DecoderPlan) -> nn.Module:
    decoder = PixelDecoder(plan, task.channels)
    expect_few_voxels(decoder.head, task)
    return decoder


@decoder_for.register
def _(task: Regression, plan: DecoderPlan) -> nn.Module:
    return PixelDecoder(plan, 1) if task.pixel_level else ImageDecoder(plan, 1)


@decoder_for.register
def _(task: Classification, plan: DecoderPlan) -> nn.Module:
    return ImageDecoder(plan, task.channels)
