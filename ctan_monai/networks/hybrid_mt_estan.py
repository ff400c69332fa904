"""Hybrid-MT-ESTAN: MT-ESTAN with a Swin Transformer V2 and anatomy-aware attention as a third encoder."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ctan_monai.errors import check_choice
from ctan_monai.networks.base import NetworkPlan
from ctan_monai.networks.mt_estan import EstanNetwork, refuse_volumes
from ctan_monai.networks.registry import register
from ctan_monai.networks.swin_v2 import SwinV2Encoder, Unchanged


class AnatomyAwareAttention(nn.Module):
    """Anatomy-aware attention: reweight features by a sigmoid of row-column convolutions of their pooled maps.

    Args:
        channels: of the features.
        pooled: 'sum' (eq. 6) or 'concat' (the text) of maximum and average.
        depthwise: each channel has convolutions of its own.

    Source: Shareef et al. 2023, eqs. 5 to 7. Decides: C5, C6 (docs/adr/0032).
    """

    def __init__(self, channels: int, pooled: str = "sum", depthwise: bool = False) -> None:
        super().__init__()
        check_choice("pooled", pooled, ("sum", "concat"))
        self.concat = pooled == "concat"
        incoming, groups = 2 * channels if self.concat else channels, channels if depthwise else 1
        self.rows = nn.Conv2d(incoming, channels, (9, 1), padding=(4, 0), groups=groups)
        self.columns = nn.Conv2d(channels, channels, (1, 9), padding=(0, 4), groups=groups)

    def forward(self, x: Tensor, height: int, width: int) -> Tensor:
        """Return (B, H, W, C) from (B, H, W, C), of which all beyond ``height`` and ``width`` is padding and stays."""
        features = x[:, :height, :width].permute(0, 3, 1, 2)
        highest = F.max_pool2d(features, 2, ceil_mode=True)
        mean = F.avg_pool2d(features, 2, ceil_mode=True)
        pooled = torch.cat([highest, mean], dim=1) if self.concat else highest + mean
        pooled = F.interpolate(pooled, size=(height, width), mode="nearest")
        attended = features * torch.sigmoid(self.columns(self.rows(pooled)))
        out = F.pad(attended, [0, x.shape[2] - width, 0, x.shape[1] - height])
        return out.permute(0, 2, 3, 1).contiguous()


@register("hybrid_mt_estan", backbone="resnet50+estan+swin_v2")
class HybridMTEstan(EstanNetwork):
    """Hybrid-MT-ESTAN: MT-ESTAN whose bottleneck also gets the deepest features of a Swin Transformer V2.

    Args:
        plan: tasks and image, which is 2D.
        size: 'base' (SwinV2-B), 'small' or 'tiny', of all encoders.
        dense: see `MTEstan`.
        dropout: see `MTEstan`.
        attention: where anatomy-aware attention stands, 'stage' (after each), 'pair' (after each pair of blocks) or
            'none'.
        pooled: see `AnatomyAwareAttention`.
        depthwise: see `AnatomyAwareAttention`.
        classify_swin: the classification branch also gets the transformer's features, averaged.
        image_size: see `SwinV2Encoder`.
        window: see `SwinV2Encoder`.
        pre_norm: see `SwinV2Encoder`.
        drop_path: see `SwinV2Encoder`.

    Raises:
        ConfigError: the images are volumes, or an option is unknown.

    Source: Shareef, Xian, Vakanski, Wang, "Breast Ultrasound Tumor Classification Using a Hybrid Multitask
    CNN-Transformer Network", MICCAI 2023. Decides: C1-C7 (docs/adr/0032).
    """

    open_size = False  # windows of open sizes take minutes to export

    def __init__(
        self,
        plan: NetworkPlan,
        size: str = "base",
        dense: str = "four",
        dropout: float = 0.5,
        attention: str = "stage",
        pooled: str = "sum",
        depthwise: bool = False,
        classify_swin: bool = False,
        image_size: Sequence[int] = (256, 256),
        window: int = 8,
        pre_norm: bool = False,
        drop_path: float = 0.0,
    ) -> None:
        refuse_volumes(self.method, plan)
        check_choice("attention", attention, ("stage", "pair", "none"))

        def attend(channels: int, index: int, depth: int) -> nn.Module:
            here = index == depth - 1 if attention == "stage" else attention == "pair" and index % 2 == 1
            return AnatomyAwareAttention(channels, pooled, depthwise) if here else Unchanged()

        swin = SwinV2Encoder(size, plan.in_channels, image_size, window, pre_norm, drop_path, attend)
        super().__init__(plan, size, dense, dropout, swin, classify_swin)
