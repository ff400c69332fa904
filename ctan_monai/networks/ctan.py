"""CTAN, the Cross-Task Attention Network of Kim, Purdie and McIntosh (2023)."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from ctan_monai.errors import ConfigError
from ctan_monai.networks.attention import AttentionPath, CrossTaskAttentionBottleneck
from ctan_monai.networks.base import MultiTaskNetwork, plan_decoders
from ctan_monai.networks.decoders import decoder_for
from ctan_monai.networks.encoder import ResNetEncoder
from ctan_monai.networks.parts import Part, joint_parts
from ctan_monai.networks.registry import register
from ctan_monai.tasks import Task


@register("ctan")
class CTAN(MultiTaskNetwork):
    """CTAN: shared encoder, cross-task attention at each stage and at the bottleneck, one decoder per task.

    Args:
        tasks: at least two tasks.
        encoder: the shared encoder.
        decoder_options: see `DecoderPlan`.
        cross: False replaces the other tasks' masks by the task's own (ablation).
        fusion: 'mul' or 'concat', see `CrossTaskAttentionEncoder`.
        pool: 'bottleneck' or 'conv3x3'.
        share_pool: one Pool for all tasks.
        others: 'mean', 'cyclic' or 'product' over the other tasks' masks.
        bottleneck: False leaves out the CTAB, so that decoders start from the attended features (ablation).
        attention: 'channel', 'softmax' or 'xca', see `CrossTaskAttentionBottleneck`.
        scale: 'n_sqrt_d', 'n_d' or 'none'.
        width: d of the bottleneck's embedding.
        embedding: 'relu' or 'unit', see `CrossTaskAttentionBottleneck`.

    Raises:
        ConfigError: there are fewer than two tasks, an option is unknown, or a 'unit' embedding is to be joined with
            skips as they are, beside whose scale it would be idle.

    Source: CTAN eq. 1, eq. 2, Alg. 1. Decides: A3-A13.
    """

    def __init__(
        self,
        tasks: tuple[Task, ...],
        encoder: ResNetEncoder,
        decoder_options: dict[str, Any],
        cross: bool = True,
        fusion: str = "mul",
        pool: str = "bottleneck",
        share_pool: bool = True,
        others: str = "mean",
        bottleneck: bool = True,
        attention: str = "channel",
        scale: str = "n_sqrt_d",
        width: int = 512,
        embedding: str = "relu",
    ) -> None:
        super().__init__(tasks, encoder.spatial_dims)
        if len(tasks) < 2:
            raise ConfigError(
                "method", f"ctan attends across tasks and found {len(tasks)}.", "Add a task, or use --method stl."
            )
        names = [task.name for task in tasks]
        deepest = encoder.channels[-1]
        self.encoder = encoder
        dims = encoder.spatial_dims
        self.attention = AttentionPath(
            names, dims, encoder.channels, cross=cross, fusion=fusion, pool=pool, share_pool=share_pool, others=others
        )
        self.bottleneck: nn.Module | None = None
        if bottleneck:
            self.bottleneck = CrossTaskAttentionBottleneck(names, dims, deepest, width, attention, scale, embedding)
        plan = plan_decoders(encoder, width if bottleneck else deepest, decoder_options)
        if bottleneck and embedding == "unit" and plan.join == "wide":
            raise ConfigError(
                "embedding",
                "'unit' was found with decoder_options' join: wide, where the query is not normalized and would be "
                "lost beside the skips.",
                "Use join: project, or embedding: relu.",
            )
        self.decoders = nn.ModuleDict({task.name: decoder_for(task, plan) for task in tasks})

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Return the logits of every task for an image (B, C, *S)."""
        features = self.encoder(image)
        attended = self.attention(features)  # T x (B, C_4, *S_4)
        if self.bottleneck is not None:
            attended = self.bottleneck(attended)  # T x (B, d, *S_4)
        return self.decode(attended, features, image)

    def parts(self) -> list[Part]:
        """Return the parts, with masks, bottleneck and all that tasks exchange."""
        names = [task.name for task in self.tasks]
        found, received = [*super().parts(), *self.attention.parts(names)], self.attention.received(names)
        if isinstance(self.bottleneck, CrossTaskAttentionBottleneck):
            found += self.bottleneck.parts(names)
            deepest = self.bottleneck.received(names)
            received = {name: (*received[name], *deepest[name]) for name in names}
        crossing = joint_parts("cross", "other tasks' features in {}", received) if any(received.values()) else []
        return [*found, *crossing]
