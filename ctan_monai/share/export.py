"""Export a network, and check that the file predicts as the network does."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ctan_monai.engines.runs.run_record import describe
from ctan_monai.errors import CheckpointError, ConfigError
from ctan_monai.files.atomic import replace_text, replacing
from ctan_monai.networks import MultiTaskNetwork
from ctan_monai.share.agreement import Agreement
from ctan_monai.share.formats import FORMATS, Format
from ctan_monai.share.image_format import file_description

_LOGGER = logging.getLogger(__name__)
TOLERANCE = 1e-4  # of the largest logit of a task, or of 1 where all are smaller


@dataclass(frozen=True)
class Exported:
    """A file that was written and checked.

    Args:
        format: key of `FORMATS`.
        path: the file.
        largest_difference: by task, of the file's logits to the network's over all images tried, relative to the
            largest logit.
        shapes: of those images.
        precision: what it computes in: fp32, bf16 or int8.
        agreements: by task, how its answers agree with the network's, if it computes in fewer than 32 bits.
    """

    format: str
    path: Path
    largest_difference: dict[str, float]
    shapes: tuple[tuple[int, ...], ...]
    precision: str = "fp32"
    agreements: tuple[Agreement, ...] = ()


def export_network(
    network: MultiTaskNetwork,
    out: str | Path,
    formats: Sequence[str],
    size: Sequence[int],
    seed: int = 0,
    image: Mapping[str, Any] | None = None,
) -> list[Exported]:
    """Export a network to ``<out>/model<suffix>`` for each format, with named outputs and dynamic batch and image size.

    Where the network's ``open_size`` is false, ONNX and torch.export files take images of ``size`` only, and say so.

    What the network expects and what its logits mean stands in each file, and in ``<out>/model<suffix>.json``.

    Each file is read back and must answer as the network does, for images of noise: one of ``size``, two of another
    size, if it takes such. A file that does not is not left behind.

    Args:
        network: in evaluation mode, on the CPU; what is written is its ``for_inference()``.
        out: folder, made if it is missing.
        formats: some of `FORMATS`.
        size: (*S) of a usual image.
        seed: of the noise.
        image: what is known about its images, see `image_format.image_format`.

    Returns:
        What was written, in the order of ``formats``.

    Raises:
        ConfigError: a format is unknown, the size does not fit the network, or a package is missing.
        CheckpointError: a file differs from the network by more than `TOLERANCE`, or cannot be written.
    """
    unknown = sorted(set(formats) - set(FORMATS))
    if unknown or not formats:
        raise ConfigError("format", f"{unknown or 'nothing'} was found.", f"Use some of {list(FORMATS)}.")
    if len(size) != network.spatial_dims or min(size) < 32:
        found = f"{list(size)} for a network of {network.spatial_dims} dimensions."
        raise ConfigError("size", found, f"Give {network.spatial_dims} numbers of at least 32.")
    written, smaller = [], network.for_inference()
    for name in formats:
        images, description = example_images(network, size, seed), file_description(describe(network), image or {})
        if FORMATS[name].traced and not network.open_size:
            images, description = for_one_size(images, description)
        with torch.no_grad():
            expected = [network(example) for example in images]
        path = Path(out) / f"model{FORMATS[name].suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            FORMATS[name].write(smaller, images[1], temporary, description)
            largest = _compare(FORMATS[name], network, images, expected, temporary)
            _refuse_differences(path, largest)
        write_beside(path, description)
        written.append(Exported(name, path, largest, tuple(tuple(example.shape) for example in images)))
    return written


def for_one_size(images: list[Tensor], description: Mapping[str, Any]) -> tuple[list[Tensor], dict[str, Any]]:
    """Return examples of one size, and a description that names it as ``only_size`` of its ``image``, and log it."""
    size = list(images[0].shape[2:])
    _LOGGER.info("The file takes images of %s pixels only, of any number: %s.", size, description["method"])
    return [images[0], images[0].repeat(2, *[1] * (images[0].ndim - 1)).roll(1, -1)], {
        **description,
        "image": {**description["image"], "only_size": size},
    }


def write_beside(path: Path, description: Mapping[str, Any]) -> None:
    """Write ``<file>.json`` with the description of the network."""
    replace_text(path.with_name(f"{path.name}.json"), json.dumps(description, indent=1) + "\n")


def _compare(
    target: Format, network: MultiTaskNetwork, images: list[Tensor], expected: list[dict[str, Tensor]], path: Path
) -> dict[str, float]:
    # two images of different sizes, so that no exporter takes a size or a batch of one for a constant
    run, _ = target.read(path)
    largest = {task.name: 0.0 for task in network.tasks}
    for image, logits in zip(images, expected, strict=True):
        try:
            answer = run(image)
        except AssertionError as error:  # a guard of torch.export
            found = f"{path.name} does not take images of {tuple(image.shape[2:])} ({error})."
            raise ConfigError("size", found, "Give a larger size, or another format than export.") from error
        for name in largest:
            scale = max(1.0, float(logits[name].abs().max()))
            largest[name] = max(largest[name], float((answer[name] - logits[name]).abs().max()) / scale)
    return largest


def _refuse_differences(path: Path, found: dict[str, float]) -> None:
    wrong = {name: value for name, value in found.items() if not value <= TOLERANCE}
    if wrong:
        raise CheckpointError(
            path,
            f"the file's answers differ from the network's by {wrong}, more than {TOLERANCE} of the largest logit.",
            "Use another format, and report this with the versions of torch, onnx and onnxruntime.",
        )


def example_images(network: MultiTaskNetwork, size: Sequence[int], seed: int = 0) -> list[Tensor]:
    """Create example images of noise: (1, C, *S) of the given size, and (2, C, *S') of another."""
    generator = torch.Generator().manual_seed(seed)
    channels = int(network.settings["in_channels"])
    other = [extent + 6 + 4 * axis for axis, extent in enumerate(size)]
    shapes = [(1, channels, *size), (2, channels, *other)]
    return [torch.randn(shape, generator=generator) for shape in shapes]
