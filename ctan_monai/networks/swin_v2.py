"""Swin Transformer V2 as a 2D encoder; its ``state_dict`` has the names of the published checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from ctan_monai.errors import ConfigError, check_choice
from ctan_monai.networks.encoder import Features
from ctan_monai.networks.parts import Part, Site, features_part, shared_part
from ctan_monai.networks.swin_blocks import PatchMerging, SwinBlock, window_mask

PATCH = 4


@dataclass(frozen=True)
class SwinSize:
    """Width, depths and heads of a Swin Transformer.

    Args:
        width: channels of the first stage; each further stage has twice as many.
        depths: blocks of each stage.
        heads: attention heads of each stage.
    """

    width: int
    depths: tuple[int, int, int, int]
    heads: tuple[int, int, int, int]


SIZES = {
    "base": SwinSize(128, (2, 2, 18, 2), (4, 8, 16, 32)),  # Liu et al. 2022, table 1: SwinV2-B
    "small": SwinSize(48, (2, 2, 6, 2), (3, 6, 12, 24)),  # SwinV2-T's depths and heads, half its width
    "tiny": SwinSize(32, (2, 2, 2, 2), (2, 4, 8, 16)),
}


class SwinStage(nn.Module):
    """Blocks of one resolution, and the patch merging that follows them.

    Args:
        channels: of the tokens.
        depth: blocks, every other one with shifted windows.
        heads: attention heads.
        resolution: rows and columns of tokens for an image of the nominal size; a window is no larger, and windows
            that cover it are not shifted.
        window: rows and columns of a window.
        pre_norm: see `SwinBlock`.
        drop_path: probabilities, one for each block.
        last: no patch merging follows.
        attend: what follows each block, called with (B, H, W, C) and the H and W that are no padding; None: nothing.
    """

    def __init__(
        self,
        channels: int,
        depth: int,
        heads: int,
        resolution: tuple[int, int],
        window: int,
        pre_norm: bool,
        drop_path: Sequence[float],
        last: bool,
        attend: Sequence[nn.Module] | None = None,
    ) -> None:
        super().__init__()
        self.window = (min(window, resolution[0]), min(window, resolution[1]))
        rows, columns = self.window
        self.shift = (rows // 2 if rows < resolution[0] else 0, columns // 2 if columns < resolution[1] else 0)
        self.shifts = sum(self.shift) > 0 and depth > 1
        self.blocks = nn.ModuleList(
            [
                SwinBlock(channels, heads, self.window, self.shift if index % 2 else (0, 0), pre_norm, drop_path[index])
                for index in range(depth)
            ]
        )
        self.attend = nn.ModuleList(attend or [Unchanged() for _ in range(depth)])
        self.downsample: nn.Module = nn.Identity() if last else PatchMerging(channels)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return (B, H, W, C) from (B, H, W, C), and what the next stage gets of it."""
        height, width = x.shape[1], x.shape[2]
        rows, columns = self.window
        down, across = (height + rows - 1) // rows, (width + columns - 1) // columns
        plain = window_mask(x, self.window, (0, 0))
        shifted = window_mask(x, self.window, self.shift) if self.shifts else plain
        x = F.pad(x, [0, 0, 0, across * columns - width, 0, down * rows - height])
        odd = False
        for block, attend in zip(self.blocks, self.attend, strict=True):
            x = attend(block(x, shifted if odd else plain, down, across), height, width)
            odd = not odd
        x = x[:, :height, :width]
        return x, self.downsample(x)


class Unchanged(nn.Module):
    """Identity in place of attention after a block."""

    def forward(self, x: Tensor, height: int, width: int) -> Tensor:
        """Return the input."""
        return x


class SwinV2Encoder(nn.Module):
    """Swin Transformer V2 encoder of 2D images in four stages; stage j has 1/2^(j+1) of the image's size.

    Args:
        size: 'base' (SwinV2-B), 'small' or 'tiny'.
        in_channels: channels of the image.
        image_size: rows and columns for which windows and shifts are chosen. Images of any other size are padded to
            whole windows, and what was padded is masked.
        window: rows and columns of a window, in tokens (docs/adr/0032, C3).
        pre_norm: see `SwinBlock`.
        drop_path: probability of leaving out the last block's residual branches; it grows linearly from 0.
        attend: makes what follows each block, from its channels, its number and the depth of its stage.

    Raises:
        ConfigError: an option is unknown.

    Source: Liu et al., "Swin Transformer V2: Scaling Up Capacity and Resolution", CVPR 2022.
    """

    spatial_dims = 2

    def __init__(
        self,
        size: str = "base",
        in_channels: int = 1,
        image_size: Sequence[int] = (256, 256),
        window: int = 8,
        pre_norm: bool = False,
        drop_path: float = 0.0,
        attend: Callable[[int, int, int], nn.Module] | None = None,
    ) -> None:
        super().__init__()
        check_choice("size", size, SIZES)
        if window < 2 or len(image_size) != 2 or min(image_size) < PATCH:
            raise ConfigError("window", f"found {window} for images of {image_size}.", "Use 8 for images of 256 x 256.")
        width, depths, heads = SIZES[size].width, SIZES[size].depths, SIZES[size].heads
        self.name, self.unit = f"swin_v2_{size}", 8 * PATCH
        self.channels = [width * 2**stage for stage in range(4)]
        self.shallow_channels = [in_channels]
        self.patch_embed = PatchEmbedding(in_channels, width)
        rates = [drop_path * block / (sum(depths) - 1) for block in range(sum(depths))]
        stages, used = [], 0
        for stage, depth in enumerate(depths):
            tokens = (-(-image_size[0] // (PATCH * 2**stage)), -(-image_size[1] // (PATCH * 2**stage)))
            options = (pre_norm, rates[used : used + depth], stage == 3)
            after = [attend(self.channels[stage], index, depth) for index in range(depth)] if attend else None
            stages.append(SwinStage(self.channels[stage], depth, heads[stage], tokens, window, *options, after))
            used += depth
        self.layers, self.norm = nn.ModuleList(stages), nn.LayerNorm(self.channels[3])
        self._initialize()

    def _initialize(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for module in self.modules():
            if isinstance(module, SwinBlock) and not module.pre_norm:
                # a residual branch adds nothing at the start (Liu et al. 2022, official code)
                for norm in (module.norm1, module.norm2):
                    nn.init.zeros_(norm.weight)

    def forward(self, image: Tensor) -> Features:
        """Return the features of an image (B, in_channels, H, W); ``u`` and ``p`` are the same.

        Raises:
            ValueError: the image has another number of spatial dimensions.
        """
        if image.dim() != 4:
            raise ValueError(f"expected an image of 4 dimensions (B, C, *S), got {image.shape}.")
        height, width = image.shape[2], image.shape[3]
        # whole patches in every stage, so that no size of a stage depends on what was rounded in the one before
        x = self.patch_embed(F.pad(image, [0, -width % self.unit, 0, -height % self.unit]))  # (B, S/4, S/4, C)
        out: list[Tensor] = []
        patch = 4
        for index, stage in enumerate(self.layers):
            kept, x = stage(x)
            if index == 3:
                kept = self.norm(kept)
            kept = kept[:, : (height + patch - 1) // patch, : (width + patch - 1) // patch]
            out.append(kept.permute(0, 3, 1, 2).contiguous())  # (B, C_j, *S_j)
            patch *= 2
        return Features([image], out, out)


class PatchEmbedding(nn.Module):
    """Patch embedding: map each square of 4 x 4 pixels to a token."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.proj, self.norm = nn.Conv2d(in_channels, channels, PATCH, PATCH), nn.LayerNorm(channels)

    def forward(self, image: Tensor) -> Tensor:
        """Return (B, H / 4, W / 4, channels) from (B, in_channels, H, W)."""
        tokens: Tensor = self.norm(self.proj(image).permute(0, 2, 3, 1))
        return tokens


def swin_parts(container: str) -> list[Part]:
    """Name the embedding, the stages and the last norm of a `SwinV2Encoder`, and O^j, what its stages make."""
    sites = tuple(Site("patches", f"{container}.{name}") for name in ("patch_embed", "norm"))
    found = [Part("weights of patch embedding and last norm", "shared", None, sites)]
    for index in range(4):
        found.append(shared_part(f"{container}.layers.{index}", f"O^{index + 1}"))
        name = f"O^{index + 1}"
        found.append(features_part(name, None, Site(name, container, ("p", index), output=True)))
    return found
