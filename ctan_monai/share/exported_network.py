"""Run inference from an exported file, as if it were the network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor, nn

from ctan_monai.errors import CheckpointError, ConfigError
from ctan_monai.share.formats import read_exported
from ctan_monai.tasks import Task, check_tasks, task_from


class ExportedNetwork(nn.Module):
    """A network in a TorchScript, ONNX or torch.export file; in ``inference.yaml`` it takes the place of network_def.

    It computes on the CPU, in the precision that the file was exported in, and gives back float32 tensors on the
    image's device.

    Args:
        path: a file that `export_network` or `export_reduced` wrote.
        tasks: what the config expects it to answer.
        trust: open a file that holds more than a network of tensors, and let it run what it likes.

    Attributes:
        tasks: what it answers.
        spatial_dims: of its images.
        method: its architecture.

    Raises:
        ConfigError: its format is unknown, a package is missing, or it answers other tasks.
        CheckpointError: the file cannot be read, or holds what could run code.
    """

    def __init__(self, path: str | Path, tasks: Sequence[Task], trust: bool = False) -> None:
        super().__init__()
        self._run, description = read_exported(path, trust)
        try:
            self.tasks = tuple(task_from(entry) for entry in description["tasks"])
            self.spatial_dims, self.method = int(description["spatial_dims"]), str(description["method"])
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(path, f"its description is incomplete ({error!r}).", "Export it again.") from error
        if self.tasks != check_tasks(tasks):
            names = [task.name for task in self.tasks]
            found = f"{path} answers {names}, or these with other labels or settings than the config's."
            raise ConfigError("tasks", found, "Use the config of the bundle that it was trained with.")

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Return the logits of every task for an image (B, C, *S)."""
        answers = self._run(image.detach().float().cpu().contiguous())
        return {task.name: answers[task.name].to(image.device) for task in self.tasks}
