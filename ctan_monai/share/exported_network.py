"""Inference with an exported file in place of the network."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor, nn

from ctan_monai.errors import CheckpointError, ConfigError
from ctan_monai.share.formats import CPU, read_exported
from ctan_monai.tasks import Task, check_tasks, task_from

_logger = logging.getLogger(__name__)
TOLERANCE = 0.01  # relative error of a task's logits; TF32, which GPUs may use, keeps 10 bits


class ExportedNetwork(nn.Module):
    """A network in a TorchScript, ONNX or torch.export file; in ``inference.yaml`` it takes the place of network_def.

    It computes on the CPU, or an ONNX file by the execution providers that are named, in the precision that the file
    was exported in, and gives back float32 tensors on the image's device. The answers of other providers to the first
    images are compared with the CPU's.

    Args:
        path: a file that `export_network` or `export_reduced` wrote.
        tasks: what the config expects it to answer.
        trust: open a file that holds more than a network of tensors, and let it run what it likes.
        providers: onnxruntime's execution providers in order of preference, for example
            [TensorrtExecutionProvider, CUDAExecutionProvider, CPUExecutionProvider]. Those that are not there are left
            out, and it is said.

    Attributes:
        tasks: what it answers.
        spatial_dims: of its images.
        method: its architecture.
        providers: in use, for an ONNX file.

    Raises:
        ConfigError: its format is unknown, a package is missing, none of the providers is there, or it answers other
            tasks.
        CheckpointError: the file cannot be read, or holds what could run code.
    """

    def __init__(
        self, path: str | Path, tasks: Sequence[Task], trust: bool = False, providers: Sequence[str] = CPU
    ) -> None:
        super().__init__()
        self._path = path
        self._run, description = read_exported(path, trust, providers)
        self.providers: list[str] = description.get("providers", [])
        self._compared = set(self.providers) <= set(CPU)
        if self.providers:
            _logger.info("%s is computed by %s.", Path(str(path)).name, ", ".join(self.providers))
        self._only_size = tuple(description.get("image", {}).get("only_size", ()))
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
        """Return the logits of every task for an image (B, C, *S).

        Raises:
            ConfigError: the file takes images of one size only, and this is another.
            CheckpointError: at the first call, the providers' answers are too far from the CPU's.
        """
        if self._only_size and self._only_size != tuple(image.shape[2:]):
            name, found = Path(str(self._path)).name, f"{tuple(image.shape[2:])} was found"
            remedy = "Export it with that --size, or use the run's weights."
            raise ConfigError("size", f"{found}; {name} takes images of {self._only_size} only.", remedy)
        plain = image.detach().float().cpu().contiguous()
        answers = self._run(plain)
        if not self._compared:
            self._compare(answers, read_exported(self._path)[0](plain))
        return {task.name: answers[task.name].to(image.device) for task in self.tasks}

    def _compare(self, found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
        self._compared = True
        pairs = {task.name: (found[task.name], expected[task.name]) for task in self.tasks}
        errors = {name: float((ours - cpu).norm() / cpu.norm()) for name, (ours, cpu) in pairs.items()}
        if wrong := {name: round(error, 4) for name, error in errors.items() if not error <= TOLERANCE}:
            found_text = f"by {self.providers} the answers are too far from the CPU's: relative error {wrong}."
            raise CheckpointError(self._path, found_text, "Use --providers [CPUExecutionProvider].")
