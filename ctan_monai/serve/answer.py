"""Predictions for one image on its own grid, and their summary in numbers."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import singledispatch
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ctan_monai.engines.predictions.prediction_files import is_dose
from ctan_monai.engines.predictions.written_table import structure_values
from ctan_monai.errors import ConfigError, CtanError, DataError
from ctan_monai.serve.monailabel_api import HTTPException
from ctan_monai.serve.names import said_of
from ctan_monai.serve.sizes import TooLargeError
from ctan_monai.tasks import Classification, Regression, Segmentation, Task, unregistered
from ctan_monai.transforms.postprocess import activate

Array = npt.NDArray[Any]
NOTICE = "Research only, not for clinical use."
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Answer:
    """Predictions of all tasks for one image.

    Args:
        case: id.
        masks: bool (*S) by task and label, on the image's own grid.
        values: float32 (*S) in the task's unit, by name of the answer, which for a Regression is the task's.
        answers: the probability of each class, or a value under the name of its unit, by image-level task.
        entropy: by task, see `predictive_entropy`; tasks without one are left out.
        affine_ras: (4, 4) of the grid; None for an image.
    """

    case: str
    masks: Mapping[str, Mapping[str, Array]]
    values: Mapping[str, Array]
    answers: Mapping[str, Mapping[str, float]]
    entropy: Mapping[str, float]
    affine_ras: npt.NDArray[np.float64] | None

    @property
    def voxel_mm3(self) -> float | None:
        """Volume of a voxel; None for an image."""
        return None if self.affine_ras is None else float(abs(np.linalg.det(self.affine_ras[:3, :3])))

    @property
    def uncertainty(self) -> float | None:
        """Mean predictive entropy over tasks, None if no task has one."""
        return float(np.mean(list(self.entropy.values()))) if self.entropy else None


@singledispatch
def predictive_entropy(task: Task, logits: Tensor) -> float | None:
    """Compute the predictive entropy of a task.

    Segmentation: bits of entropy of all voxels, divided by the number of voxels that are expected inside (the sum of
    the probabilities) plus one, averaged over the labels: uncertainty about an outline, whatever the image's size.
    Classification: bits of entropy as a fraction of the highest possible.

    Args:
        task: the task.
        logits: (K, *S) or (K,).

    Returns:
        None for a Regression, whose network says one value without a spread.

    Raises:
        ConfigError: nothing is known about this kind of task.
    """
    raise unregistered(task, "predictive entropy", "predictive_entropy")


@predictive_entropy.register
def _(task: Segmentation, logits: Tensor) -> float:
    probs = _probs(task, logits)  # (K, *S)
    bits = _binary_bits(probs)
    first = 0 if task.overlapping else 1  # without the background
    each = [bits[at].sum() / (probs[at].sum() + 1) for at in range(first, len(probs))]
    return float(torch.stack(each).mean())


@predictive_entropy.register
def _(task: Regression, logits: Tensor) -> None:
    return None


@predictive_entropy.register
def _(task: Classification, logits: Tensor) -> float:
    probs = _probs(task, logits)  # (K,)
    if task.exclusive:
        return float(-(probs * probs.log2()).sum() / np.log2(len(probs)))
    return float(_binary_bits(probs).mean())


def _probs(task: Task, logits: Tensor) -> Tensor:
    return activate(task, logits[None])[0].double().clamp(1e-7, 1 - 1e-7)


def _binary_bits(probs: Tensor) -> Tensor:
    return -(probs * probs.log2() + (1 - probs) * (1 - probs).log2())


def label_map(task: Task, masks: Mapping[str, Array]) -> tuple[npt.NDArray[np.uint16], int]:
    """Merge the masks of a task to a label map; where they overlap, the last label wins.

    Args:
        task: labels are numbered from 1 in its order.
        masks: bool (*S) by label.

    Returns:
        The map, and how many voxels belong to several labels, which a map cannot say.
    """
    found = np.zeros(next(iter(masks.values())).shape, np.uint16)
    count = np.zeros(found.shape, np.uint8)
    for number, label in enumerate(task.answer_names, start=1):
        found[masks[label]] = number
        count += masks[label]
    return found, int((count > 1).sum())


def answer_values(tasks: tuple[Task, ...], answer: Answer) -> dict[str, Any]:
    """Summarize a prediction in numbers, as JSON values.

    Per structure its volume and, where a dose is predicted, the dose in it; per voxel-level value its range; per
    image-level task the probabilities and, where classes exclude each other, the most probable class.
    """
    dose_gy = next((answer.values[task.name] for task in tasks if is_dose(task)), None)
    found: dict[str, Any] = {"notice": NOTICE, "uncertainty": _rounded(answer.entropy)}
    labels = [label for masks in answer.masks.values() for label in masks]
    structures = {
        label if labels.count(label) == 1 else f"{label} ({task})": mask
        for task, masks in answer.masks.items()
        for label, mask in masks.items()
    }
    if structures and answer.voxel_mm3 is not None:
        each = structure_values(structures, dose_gy, answer.voxel_mm3)
        found["structures"] = [dataclasses.asdict(entry) for entry in each]
    elif structures:
        found["structures"] = [{"structure": name, "pixels": int(mask.sum())} for name, mask in structures.items()]
    for task in tasks:
        for name in task.answer_names if task.pixel_level and not task.masks else ():
            found.setdefault("values", {})[name] = _range(answer.values[name], task.answer_unit)
        if task.name in answer.answers:
            found.setdefault("answers", {})[task.name] = _choice(task, answer.answers[task.name])
    return found


def _choice(task: Task, numbers: Mapping[str, float]) -> dict[str, Any]:
    if task.answer_unit:
        return {"value": round(numbers[task.answer_unit], 4), "unit": task.answer_unit}
    found: dict[str, Any] = {"probabilities": _rounded(numbers)}
    if task.exclusive:
        found["class"] = max(numbers, key=lambda name: numbers[name])
    return found


def _range(values: Array, unit: str) -> dict[str, Any]:
    numbers = {"min": values.min(), "mean": values.mean(), "max": values.max()}
    return {"unit": unit, **_rounded({name: float(value) for name, value in numbers.items()})}


def _rounded(numbers: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in numbers.items()}


@contextmanager
def as_answer() -> Iterator[None]:
    """Convert an error of this package to an HTTP response in JSON, without paths of this machine."""
    try:
        yield
    except CtanError as error:
        _logger.warning("%s", error)
        status = 413 if isinstance(error, TooLargeError) else 400 if isinstance(error, DataError | ConfigError) else 500
        raise HTTPException(status, said_of(error)) from error
