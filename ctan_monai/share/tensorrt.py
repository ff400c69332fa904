"""Run a trained network by TensorRT on an NVIDIA GPU, compiled there when it is first used."""

from __future__ import annotations

import copy
import hashlib
import importlib
import importlib.util
import json
import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from monai.data import MetaTensor
from torch import Tensor, nn

from ctan_monai.engines.runs.run_network import network_of_run
from ctan_monai.engines.runs.run_record import MODEL_FILE
from ctan_monai.errors import CheckpointError, ConfigError
from ctan_monai.share.formats import INPUT
from ctan_monai.tasks import Task, check_tasks

_logger = logging.getLogger(__name__)
Profile = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]  # smallest, usual and largest (B, C, *S)
# module -> what pip installs it by. TensorRT 11 has no precision flags any more, which MONAI 1.6 sets.
PACKAGES = {
    "tensorrt": "'tensorrt>=10.3,<11'",
    "polygraphy": "polygraphy",
    "cuda": "cuda-python",
    "onnx": "onnx",
    "onnxscript": "onnxscript",
}
# relative error of a task's logits on the first images, beyond which an engine is not used
TOLERANCES = {"fp32": 1e-3, "tf32": 1e-2, "fp16": 0.05, "bf16": 0.05}


class TensorRTNetwork(nn.Module):
    """A run's network, computed by TensorRT; in ``inference.yaml`` it takes the place of network_def.

    MONAI's `trt_compile` writes the network as ONNX and builds an engine at the first call, which takes minutes, and
    keeps it in ``<run_dir>/tensorrt`` for the next time: for this GPU, precision, these sizes and weights. Added to
    that: whatever is missing is said at once, where MONAI would go on without TensorRT; images that the engine was not
    built for are refused; the answers to the first images are compared with the network's; and what is given back is a
    copy, since the engine writes each answer where it wrote the last.

    Args:
        run_dir: the run's folder, where the engine is kept too.
        tasks: what the config expects it to answer.
        sizes: smallest, usual and largest (*S) of an image; the engine is quickest at the usual one.
        batches: smallest, usual and largest number of images at once.
        precision: fp32, tf32, fp16 or bf16.

    Attributes:
        tasks: what it answers.
        spatial_dims: of its images.

    Raises:
        ConfigError: there is no CUDA device, a package is missing, the sizes do not fit the network, or the run
            answers other tasks.
        CheckpointError: the run cannot be read.
    """

    def __init__(
        self,
        run_dir: str | Path,
        tasks: Sequence[Task],
        sizes: Sequence[Sequence[int]],
        batches: Sequence[int] = (1, 8, 16),
        precision: str = "fp16",
    ) -> None:
        super().__init__()
        check_machine()
        if precision not in TOLERANCES:
            raise ConfigError("trt_precision", f"{precision!r} was found.", f"Use one of {list(TOLERANCES)}.")
        network = network_of_run(run_dir)
        if network.tasks != check_tasks(tasks):
            found = f"the run answers {[task.name for task in network.tasks]}, or these with other labels or settings."
            raise ConfigError("tasks", found, "Use the config of the bundle that it was trained with.")
        self.tasks, self.spatial_dims, self.precision = network.tasks, network.spatial_dims, precision
        self.profile = profile_of(int(network.settings["in_channels"]), network.spatial_dims, sizes, batches)
        self.network = network
        self._run_dir = Path(str(run_dir))
        self._compiled: list[nn.Module] = []  # a list, so that it is no part of this module's weights

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Return the logits of every task, float32, for an image (B, C, *S) on a CUDA device.

        Raises:
            ConfigError: the engine was not built for images of this size, or so many.
            CheckpointError: at the first call, the engine's answers are too far from the network's.
        """
        plain = image.as_tensor() if isinstance(image, MetaTensor) else image
        plain = plain.float().contiguous()
        check_shape(tuple(plain.shape), self.profile)
        if not self._compiled:
            self._compile(plain)
        return self._answers(plain)

    def _answers(self, image: Tensor) -> dict[str, Tensor]:
        answers = self._compiled[0](image)
        return {task.name: answers[task.name].float().clone() for task in self.tasks}

    def _compile(self, image: Tensor) -> None:
        from monai.networks import trt_compile

        with torch.no_grad():
            expected = self.network(image)
        folder = self._run_dir / "tensorrt"
        folder.mkdir(exist_ok=True)
        module = copy.deepcopy(self.network)  # what MONAI compiles, it changes
        base = folder / f"model.{self.precision}.{_digest(self.profile)}"
        weights = (self._run_dir / MODEL_FILE).stat().st_mtime  # an older engine is built anew
        arguments = compiler_arguments([task.name for task in self.tasks], self.profile, self.precision)
        trt_compile(module, str(base), args={**arguments, "timestamp": weights})
        self._compiled.append(module)
        module(torch.randn(example_shape(self.profile), device=image.device))  # builds or loads the engine
        _refuse_differences(base, self.precision, expected, self._answers(image))


def check_machine() -> None:
    """See that TensorRT can be used here.

    Raises:
        ConfigError: what is missing, all of it, and what to do.
    """
    missing = [] if torch.cuda.is_available() else ["an NVIDIA GPU that torch can use"]
    missing += [f"the package {name}" for name in PACKAGES if importlib.util.find_spec(name) is None]
    if importlib.util.find_spec("tensorrt") is not None and not (found := _version()).startswith("10."):
        missing.append(f"TensorRT 10 (found {found})")
    if missing:
        raise ConfigError(
            "inference_trt.yaml",
            f"TensorRT cannot be used here; missing: {', '.join(missing)}.",
            "Leave inference_trt.yaml out to predict without TensorRT, or, on a machine with an NVIDIA GPU and a CUDA "
            f"build of torch: pip install {' '.join(PACKAGES.values())}.",
        )


def _version() -> str:
    """Ask TensorRT itself: what it is installed by has several names."""
    return str(importlib.import_module("tensorrt").__version__)


def profile_of(in_channels: int, spatial_dims: int, sizes: Sequence[Sequence[int]], batches: Sequence[int]) -> Profile:
    """Return the smallest, usual and largest shape (B, C, *S) that an engine is built for.

    >>> profile_of(1, 2, [[32, 32], [128, 128], [256, 256]], [1, 8, 16])
    ((1, 1, 32, 32), (8, 1, 128, 128), (16, 1, 256, 256))

    Raises:
        ConfigError: there are not three of each, they are not in order, or a size does not fit the network.
    """
    remedy = f"Give the smallest, the usual and the largest: three sizes of {spatial_dims} numbers, three counts."
    if len(sizes) != 3 or len(batches) != 3 or any(len(size) != spatial_dims for size in sizes):
        raise ConfigError("trt_sizes, trt_batches", f"{list(sizes)} and {list(batches)} were found.", remedy)
    low, usual, high = ((int(batch), in_channels, *map(int, size)) for batch, size in zip(batches, sizes, strict=True))
    if not all(1 <= a <= b <= c for a, b, c in zip(low, usual, high, strict=True)):
        raise ConfigError("trt_sizes, trt_batches", f"{list(sizes)} and {list(batches)} are not in order.", remedy)
    return low, usual, high


def example_shape(profile: Profile) -> tuple[int, ...]:
    """Return the usual shape, with at least two images if there may be two: exporters take a batch of one for constant.

    >>> example_shape(((1, 1, 32, 32), (1, 1, 64, 64), (4, 1, 96, 96)))
    (2, 1, 64, 64)
    """
    _, usual, high = profile
    return (max(usual[0], min(2, high[0])), *usual[1:])


def check_shape(shape: tuple[int, ...], profile: Profile) -> None:
    """See that an engine was built for images of a shape: TensorRT itself only says so in its log.

    Raises:
        ConfigError: it was not; the message says for which it was.
    """
    low, _, high = profile
    fits = len(shape) == len(low) and all(a <= have <= b for a, have, b in zip(low, shape, high, strict=True))
    if not fits:
        raise ConfigError(
            "trt_sizes",
            f"an image of shape {shape}, but the engine is for {low} to {high}.",
            "Give a larger range with --trt_sizes, or --trt_batches.",
        )


def compiler_arguments(tasks: Sequence[str], profile: Profile, precision: str) -> dict[str, Any]:
    """Return what MONAI's `TrtCompiler` is called with.

    The outputs are named, for otherwise it gives back a list. The exporter is torch.export's: TorchScript's takes the
    sizes in CTAN's attention for constants.

    Args:
        tasks: names.
        profile: of `profile_of`.
        precision: fp32, tf32, fp16 or bf16.
    """
    return {
        "method": "onnx",
        "precision": precision,
        "input_names": [INPUT],
        "output_names": list(tasks),
        "input_profiles": [{INPUT: [list(shape) for shape in profile]}],
        "export_args": {"dynamo": True},
        "fallback": False,
    }


def _digest(profile: Profile) -> str:
    return hashlib.sha256(json.dumps(profile).encode()).hexdigest()[:8]


def _refuse_differences(path: Path, precision: str, expected: dict[str, Tensor], found: dict[str, Tensor]) -> None:
    errors = {}
    for name, logits in expected.items():
        size = float(logits.double().norm())
        errors[name] = float((found[name].double() - logits.double()).norm()) / size if size else math.inf
    wrong = {name: round(error, 4) for name, error in errors.items() if not error <= TOLERANCES[precision]}
    if wrong:
        raise CheckpointError(
            path,
            f"the engine's answers are too far from the network's: relative error {wrong}, allowed "
            f"{TOLERANCES[precision]}.",
            "Use --trt_precision fp32, or leave inference_trt.yaml out.",
        )
    _logger.info("TensorRT (%s) answers as the network: relative error %s.", precision, errors)
