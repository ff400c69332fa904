"""Reduced-precision exports for CPUs, checked on images of the run."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ctan_monai.engines.distributed.processes import to_channels_last
from ctan_monai.engines.loop.bf16_guard import refuse_bf16
from ctan_monai.engines.runs.run_record import describe
from ctan_monai.errors import CheckpointError, ConfigError, check_choice
from ctan_monai.files.atomic import replacing
from ctan_monai.networks import MultiTaskNetwork
from ctan_monai.share.agreement import LIMITS, Agreement, compare
from ctan_monai.share.export import Exported, example_images, for_one_size, write_beside
from ctan_monai.share.formats import FORMATS
from ctan_monai.share.image_format import file_description
from ctan_monai.share.int8 import write_int8
from ctan_monai.share.run_images import RunImages

# formats of each precision, and why others have it not
PRECISIONS = {"fp32": tuple(FORMATS), "bf16": ("torchscript", "export"), "int8": ("onnx",)}
_REMEDIES = {
    "bf16": "onnxruntime has no bfloat16 on the CPU: use --format torchscript or export, or --precision int8.",
    "int8": "Only onnxruntime computes a file in 8 bits: use --format onnx, or --precision bf16.",
}


class Bfloat16Network(nn.Module):
    """Wrap a copy of a network in bfloat16; images and logits stay float32.

    Args:
        network: in evaluation mode, on the CPU; not changed.
    """

    def __init__(self, network: MultiTaskNetwork) -> None:
        super().__init__()
        self.network = copy.deepcopy(network).to(torch.bfloat16)
        to_channels_last(self.network)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Return the logits of every task for an image (B, C, *S)."""
        logits: dict[str, Tensor] = self.network(image.to(torch.bfloat16))
        return {name: value.float() for name, value in logits.items()}


def formats_of(precision: str, formats: Sequence[str]) -> list[str]:
    """Return the formats to write: the given ones, or all of the precision.

    Raises:
        ConfigError: the precision is unknown, or a format has it not; the message names what does.
    """
    check_choice("--precision", precision, PRECISIONS)
    wrong = [name for name in formats if name not in PRECISIONS[precision]]
    if wrong and precision in _REMEDIES:
        raise ConfigError(f"--precision {precision}", f"it was asked for as {wrong}.", _REMEDIES[precision])
    return list(formats or PRECISIONS[precision])


def export_reduced(
    network: MultiTaskNetwork,
    out: str | Path,
    formats: Sequence[str],
    precision: str,
    images: RunImages,
    image: Mapping[str, Any] | None = None,
) -> list[Exported]:
    """Export a network to ``<out>/model.<precision><suffix>`` for each format, with dynamic batch and image size.

    Each file is read back and must agree with the network, which computes in 32 bits, about the run's validation
    images, within `LIMITS`: in the logits, and in what is made of them (masks, values, classes). A file that does not
    is not left behind. No image goes into a file, only, in 8 bits, the ranges of activations.

    Args:
        network: in evaluation mode, on the CPU.
        out: folder, made if it is missing.
        formats: some of the precision's; none for all of them.
        precision: bf16 or int8.
        images: to calibrate and to check with.
        image: what is known about its images, see `image_format.image_format`.

    Returns:
        What was written, in the order of ``formats``.

    Raises:
        ConfigError: the precision is unknown or fp32, a format does not have it, a package is missing, or this
            processor computes a convolution wrongly in bfloat16.
        CheckpointError: a file is too far from the network, or cannot be written.
    """
    names = formats_of(precision, formats)
    if precision not in LIMITS:
        raise ConfigError("--precision", f"{precision!r} was found.", "Use export_network for 32 bits.")
    batches = list(_batches(images.validation))
    with torch.no_grad():
        expected = [network(batch) for batch in batches]
    if precision == "bf16":
        with torch.no_grad():
            refuse_bf16(Bfloat16Network(network).eval(), batches)
    description: dict[str, Any] = {**file_description(describe(network), image or {}), "precision": precision}
    examples = example_images(network, batches[0].shape[2:])
    if not network.open_size:
        examples, description = for_one_size(examples, description)
    example = examples[1]
    written = []
    for name in names:
        path = Path(out) / f"model.{precision}{FORMATS[name].suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            if precision == "int8":
                write_int8(network, example, temporary, description, images.training)
            else:
                FORMATS[name].write(Bfloat16Network(network).eval(), example, temporary, description)
            run, _ = FORMATS[name].read(temporary)
            found = [run(batch) for batch in batches]
            agreements = compare(network.tasks, zip(expected, found, strict=True), LIMITS[precision])
            _refuse(path, precision, agreements)
        write_beside(path, description)
        largest = {task.name: _largest(task.name, expected, found) for task in network.tasks}
        shapes = tuple(dict.fromkeys(tuple(batch.shape) for batch in batches))
        written.append(Exported(name, path, largest, shapes, precision, agreements))
    return written


def _batches(images: Sequence[Tensor]) -> Iterator[Tensor]:
    """Batch consecutive images (1, C, *S) of the same size in pairs, others singly."""
    waiting: Tensor | None = None
    for image in images:
        if waiting is not None and waiting.shape == image.shape:
            yield torch.cat([waiting, image])
            waiting = None
        else:
            if waiting is not None:
                yield waiting
            waiting = image
    if waiting is not None:
        yield waiting


def _largest(task: str, expected: list[dict[str, Tensor]], found: list[dict[str, Tensor]]) -> float:
    scale = max(1.0, *(float(logits[task].abs().max()) for logits in expected))
    pairs = zip(expected, found, strict=True)
    return max(float((theirs[task] - ours[task]).abs().max()) for ours, theirs in pairs) / scale


def _refuse(path: Path, precision: str, agreements: Sequence[Agreement]) -> None:
    wrong = [
        f"{found.task} (relative error {found.error:.3f}, {found.measure} {found.value:.3f})"
        for found in agreements
        if not found.holds
    ]
    if wrong:
        other = "fp32" if precision == "bf16" else "bf16 or fp32"
        raise CheckpointError(
            path,
            f"in {precision} the answers are too far from the network's in {', '.join(wrong)}; allowed: "
            f"{LIMITS[precision]}.",
            f"Use --precision {other}. A network that has hardly been trained is the most sensitive.",
        )
