"""One task's output as a single tensor, for tools that cannot take a dictionary."""

from __future__ import annotations

from torch import Tensor, nn

from ctan_monai.errors import ConfigError
from ctan_monai.networks.base import MultiTaskNetwork


class SelectOutput(nn.Module):
    """Return one task's logits instead of all (MONAI's `verify_net_in_out`, TorchScript export, ONNX).

    Args:
        network: the multi-task network.
        task: name of the task.

    Raises:
        ConfigError: the network has no such task.
    """

    def __init__(self, network: MultiTaskNetwork, task: str) -> None:
        super().__init__()
        names = [known.name for known in network.tasks]
        if task not in names:
            raise ConfigError("task", f"{task!r} is unknown.", f"Use one of {names}.")
        self.network, self.task = network, task

    def forward(self, image: Tensor) -> Tensor:
        """Return the task's logits for an image (B, C, *S)."""
        logits: Tensor = self.network(image)[self.task]
        return logits
