"""Preprocessed images of a run, to calibrate and check reduced-precision files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from monai.data import MetaTensor
from torch import Tensor

from ctan_monai.engines.runs.run_config import config_of_run
from ctan_monai.errors import CheckpointError, find_ctan_error
from ctan_monai.networks import MultiTaskNetwork

CASES = 4  # at least as many are looked at, if there are any: the slices of one patient are alike
_REMEDY = (
    "Start where its training was started, with its data in their place; or export with precision fp32, which needs no "
    "images."
)


@dataclass(frozen=True)
class RunImages:
    """Some images of a run, without identifiers.

    Args:
        training: (1, C, *S) each, as in training, to find the ranges of activations with.
        validation: (1, C, *S) each, which those do not contain, to check with.
    """

    training: tuple[Tensor, ...]
    validation: tuple[Tensor, ...]


def images_of_run(run_dir: str | Path, network: MultiTaskNetwork, count: int = 64) -> RunImages:
    """Load images by a run's config (its copy in ``configs``) and options.

    The images are those that the config's own inferers give to the network: a 2D network's slices, windows.

    Args:
        run_dir: the run's folder.
        network: its network, on the CPU.
        count: images of each kind, fewer if there are fewer.

    Raises:
        CheckpointError: the run has no config, or its data cannot be read.
        ConfigError: a text among its settings would become a part of the config's program.
    """
    folder = Path(run_dir)
    parser = config_of_run(folder, _REMEDY)
    found = []
    for part in ("train", "validate"):
        try:
            dataset = parser.get_parsed_content(f"{part}#dataset")
            inferer = parser.get_parsed_content(f"{part}#inferer")
            found.append(_seen_by(network, dataset, inferer, count))
        except Exception as error:  # a config can name any function, and MONAI wraps what it raises
            reason = f"its images cannot be read ({find_ctan_error(error) or repr(error)})."
            raise CheckpointError(folder, reason, _REMEDY) from error
        if not found[-1]:
            raise CheckpointError(folder, f"its config's {part}#dataset has no images.", _REMEDY)
    return RunImages(*found)


def _seen_by(network: MultiTaskNetwork, dataset: Any, inferer: Any, count: int) -> tuple[Tensor, ...]:
    recorder = _Recorder(network)
    order = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(0)).tolist()
    for number, index in enumerate(order):
        if number >= CASES and len(recorder.images) >= count:
            break
        image = dataset[index]["image"]
        plain = image.as_tensor() if isinstance(image, MetaTensor) else torch.as_tensor(image)
        with torch.no_grad():
            inferer(plain[None].float(), recorder)
    return tuple(_evenly(recorder.images, count))


class _Recorder:
    """Record each image that the network predicts."""

    def __init__(self, network: MultiTaskNetwork) -> None:
        self._network, self.spatial_dims = network, network.spatial_dims
        self.images: list[Tensor] = []

    def __call__(self, image: Tensor, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        self.images += [one[None].clone() for one in image]  # (1, C, *S) each
        answers: dict[str, Tensor] = self._network(image, *args, **kwargs)
        return answers


def _evenly(images: Sequence[Tensor], count: int) -> list[Tensor]:
    """Choose ``count`` items evenly over the list."""
    if len(images) <= count:
        return list(images)
    return [images[position * len(images) // count] for position in range(count)]
