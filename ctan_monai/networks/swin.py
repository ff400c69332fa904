"""Swin Transformer V2 as the shared encoder, with one of the package's decoders per task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from ctan_monai.networks.base import MultiTaskNetwork, NetworkPlan
from ctan_monai.networks.decoders import DecoderPlan, decoder_for
from ctan_monai.networks.encoder import Features
from ctan_monai.networks.mt_estan import refuse_volumes
from ctan_monai.networks.parts import Part, decoder_parts
from ctan_monai.networks.registry import register
from ctan_monai.networks.swin_v2 import SwinV2Encoder, swin_parts
from ctan_monai.networks.weights import load_swin_weights


@register("swin", backbone="swin_v2", package_decoders=True)
class Swin(MultiTaskNetwork):
    """Swin: Swin Transformer V2 encoder, one decoder per task.

    Args:
        plan: tasks and image, which is 2D.
        size: 'base' (SwinV2-B), 'small' or 'tiny'.
        image_size: see `SwinV2Encoder`.
        window: see `SwinV2Encoder`.
        pre_norm: see `SwinV2Encoder`.
        drop_path: see `SwinV2Encoder`.

    Raises:
        ConfigError: the images are volumes, or an option is unknown.

    Source: Liu et al., CVPR 2022; a row of table 3 of Shareef et al., MICCAI 2023.
    """

    open_size = False  # windows of open sizes take minutes to export

    def __init__(
        self,
        plan: NetworkPlan,
        size: str = "base",
        image_size: Sequence[int] = (256, 256),
        window: int = 8,
        pre_norm: bool = False,
        drop_path: float = 0.0,
    ) -> None:
        refuse_volumes(self.method, plan)
        super().__init__(plan.tasks, 2)
        self.swin = SwinV2Encoder(size, plan.in_channels, image_size, window, pre_norm, drop_path)
        channels = tuple(self.swin.channels)
        shallow = tuple(self.swin.shallow_channels)
        decoders = DecoderPlan(2, channels, shallow, channels[3], **plan.decoder_options)
        self.decoders = nn.ModuleDict({task.name: decoder_for(task, decoders) for task in plan.tasks})

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Return the logits of every task for an image (B, C, H, W)."""
        features: Features = self.swin(image)
        return self.decode([features.p[3]] * len(self.decoders), features, image)

    def parts(self) -> list[Part]:
        """Return the parts: the transformer's stages, their features, and the decoders' inputs, see `Part`."""
        return [*swin_parts("swin"), *decoder_parts(self.decoders.items())]

    def load_pretrained(self, source: str | Mapping[str, str]) -> None:
        """Load published weights into the transformer: a file, or ``{"swin": file}``, see `load_swin_weights`."""
        load_swin_weights(self.swin, source if isinstance(source, str) else source["swin"])
