"""STL, single-task learning: one independent network per task, trained side by side in one run."""

from __future__ import annotations

import copy
from typing import Any, ClassVar

from torch import Tensor, nn

from ctan_monai.networks.base import MultiTaskNetwork
from ctan_monai.networks.encoder import ResNetEncoder
from ctan_monai.networks.hps import HPS
from ctan_monai.networks.registry import register
from ctan_monai.tasks import Task


@register("stl")
class STL(MultiTaskNetwork):
    """STL: one encoder and one decoder per task; nothing is shared.

    Args:
        tasks: at least one task.
        encoder: the encoder; each task gets a copy that starts from the same weights.
        decoder_options: see `DecoderPlan`.

    Source: CTAN section 3 (STL baseline); docs/adr/0004.
    """

    independent_tasks = True
    task_containers: ClassVar[tuple[str, ...]] = ("branches",)

    def __init__(self, tasks: tuple[Task, ...], encoder: ResNetEncoder, decoder_options: dict[str, Any]) -> None:
        super().__init__(tasks, encoder.spatial_dims)
        self.branches = nn.ModuleDict(
            {task.name: HPS((task,), copy.deepcopy(encoder), decoder_options) for task in tasks}
        )

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Return the logits of every task for an image (B, C, *S)."""
        logits: dict[str, Tensor] = {}
        for name, branch in self.branches.items():
            logits[name] = branch(image)[name]
        return logits
