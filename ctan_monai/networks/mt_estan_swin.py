"""MT-ESTAN with a Swin Transformer V2, without anatomy-aware attention: a row of the paper's ablation."""

from __future__ import annotations

from collections.abc import Sequence

from ctan_monai.networks.base import NetworkPlan
from ctan_monai.networks.mt_estan import EstanNetwork, refuse_volumes
from ctan_monai.networks.registry import register
from ctan_monai.networks.swin_v2 import SwinV2Encoder


@register("mt_estan_swin", backbone="resnet50+estan+swin_v2")
class MTEstanSwin(EstanNetwork):
    """Hybrid-MT-ESTAN without its attention; arguments as `HybridMTEstan`'s.

    Args:
        plan: tasks and image, which is 2D.
        size: 'base', 'small' or 'tiny', of all encoders.
        dense: see `MTEstan`.
        dropout: see `MTEstan`.
        classify_swin: the classification branch also gets the transformer's features, averaged.
        image_size: see `SwinV2Encoder`.
        window: see `SwinV2Encoder`.
        pre_norm: see `SwinV2Encoder`.
        drop_path: see `SwinV2Encoder`.

    Raises:
        ConfigError: the images are volumes, or an option is unknown.

    Source: Shareef et al., MICCAI 2023, table 3.
    """

    open_size = False  # windows of open sizes take minutes to export

    def __init__(
        self,
        plan: NetworkPlan,
        size: str = "base",
        dense: str = "four",
        dropout: float = 0.5,
        classify_swin: bool = False,
        image_size: Sequence[int] = (256, 256),
        window: int = 8,
        pre_norm: bool = False,
        drop_path: float = 0.0,
    ) -> None:
        refuse_volumes(self.method, plan)
        swin = SwinV2Encoder(size, plan.in_channels, image_size, window, pre_norm, drop_path)
        super().__init__(plan, size, dense, dropout, swin, classify_swin)
