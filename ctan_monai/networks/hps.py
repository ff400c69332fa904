"""HPS, hard parameter sharing: one encoder for all tasks, one decoder per task."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from ctan_monai.networks.base import MultiTaskNetwork, plan_decoders
from ctan_monai.networks.decoders import decoder_for
from ctan_monai.networks.encoder import ResNetEncoder
from ctan_monai.networks.registry import register
from ctan_monai.tasks import Task


@register("hps")
class HPS(MultiTaskNetwork):
    """HPS: shared encoder, one decoder per task.

    Args:
        tasks: at least one task.
        encoder: the shared encoder.
        decoder_options: see `DecoderPlan`.

    Source: Caruana 1997; docs/adr/0004.
    """

    def __init__(self, tasks: tuple[Task, ...], encoder: ResNetEncoder, decoder_options: dict[str, Any]) -> None:
        super().__init__(tasks, encoder.spatial_dims)
        self.encoder = encoder
        plan = plan_decoders(encoder, encoder.channels[-1], decoder_options)
        self.decoders = nn.ModuleDict({task.name: decoder_for(task, plan) for task in tasks})

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Return the logits of every task for an image (B, C, *S)."""
        features = self.encoder(image)
        return self.decode([features.p[3]] * len(self.decoders), features, image)
