"""MTAN, the Multi-Task Attention Network of Liu, Johns and Davison (2019), with this package's decoders."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn

from ctan_monai.networks.attention import AttentionPath
from ctan_monai.networks.base import MultiTaskNetwork, plan_decoders
from ctan_monai.networks.decoders import decoder_for
from ctan_monai.networks.encoder import ResNetEncoder
from ctan_monai.networks.parts import Part
from ctan_monai.networks.registry import register
from ctan_monai.tasks import Task


@register("mtan", before={"pool": "bottleneck", "expansion": 4})
class MTAN(MultiTaskNetwork):
    """MTAN: shared encoder, per-task attention at each stage, one decoder per task.

    Args:
        tasks: at least one task.
        encoder: the shared encoder. MTAN's own split of a stage is 'one' block for P, which ``encoder_options`` give.
        decoder_options: see `DecoderPlan`.
        pool: 'residual', 'bottleneck' or 'conv3x3', see `CrossTaskAttentionEncoder`.
        share_pool: one Pool for all tasks, as in the original.
        expansion: see `CrossTaskAttentionEncoder`; None: of the encoder's blocks.

    Raises:
        ConfigError: an option is unknown.

    Source: MTAN section 3.1; its authors' code (lorenmt/mtan, ResNet version) and LibMTL for the widths and the shared
    block. docs/adr/0029 (the code of CTAE with t' := t).
    """

    task_containers: ClassVar[tuple[str, ...]] = ("decoders", "masks")

    def __init__(
        self,
        tasks: tuple[Task, ...],
        encoder: ResNetEncoder,
        decoder_options: dict[str, Any],
        pool: str = "residual",
        share_pool: bool = True,
        expansion: int | None = None,
    ) -> None:
        super().__init__(tasks, encoder.spatial_dims)
        self.encoder = encoder
        names = [task.name for task in tasks]
        widths = {"pool": pool, "expansion": encoder.expansion if expansion is None else expansion}
        self.attention = AttentionPath(
            names, encoder.spatial_dims, encoder.channels, cross=False, share_pool=share_pool, **widths
        )
        plan = plan_decoders(encoder, encoder.channels[-1], decoder_options)
        self.decoders = nn.ModuleDict({task.name: decoder_for(task, plan) for task in tasks})

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Return the logits of every task for an image (B, C, *S)."""
        features = self.encoder(image)
        return self.decode(self.attention(features), features, image)

    def parts(self) -> list[Part]:
        """Return the parts, with masks; tasks exchange nothing."""
        return [*super().parts(), *self.attention.parts([task.name for task in self.tasks])]
