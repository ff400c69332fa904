"""What a cached case knows about each kind of task, as tensors."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import singledispatch
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ctan_monai.data.cases.case import Case
from ctan_monai.errors import DataError
from ctan_monai.tasks import Classification, Regression, Segmentation, Task, unregistered

logger = logging.getLogger(__name__)


@singledispatch
def read_label(task: Task, case: Case, file: Path) -> tuple[Tensor, Tensor]:
    """Read the label of one task from a case.

    Returns:
        The label, zeros where it is unknown, and whether it is known, as `LoadCaseFiled` describes them.

    Raises:
        ConfigError: nothing is known about this kind of task.
        DataError: a label of the whole image is none that this task can have.
    """
    raise unregistered(task, "label to read", "read_label")


@read_label.register
def _(task: Segmentation, case: Case, file: Path) -> tuple[Tensor, Tensor]:
    masks = np.zeros((len(task.labels), *case.shape), np.uint8)  # (L, *S)
    taken = np.zeros(case.shape, bool)
    overlap = 0
    for position, name in enumerate(task.labels):
        if name not in case.masks:
            continue
        mask = case.masks[name]
        if not task.overlapping:
            overlap += int(np.count_nonzero(taken & mask))
            masks[:position, mask] = 0
            taken |= mask
        masks[position] = mask
    if overlap:
        logger.debug("%s, %s: %d voxels belong to two labels; the later label has them.", case.case, task.name, overlap)
    return torch.from_numpy(masks), torch.tensor([name in case.masks for name in task.labels])


@read_label.register
def _(task: Regression, case: Case, file: Path) -> tuple[Tensor, Tensor]:
    if not task.pixel_level:
        return _read_value(task, case, file, lambda value: torch.tensor([float(value)]), torch.zeros(1))
    if task.name not in case.volumes:
        return torch.zeros(1, *case.shape), torch.tensor(False)
    volume = case.volumes[task.name]
    return torch.from_numpy(volume.astype(np.float32))[None], torch.tensor(True)  # (1, *S)


@read_label.register
def _(task: Classification, case: Case, file: Path) -> tuple[Tensor, Tensor]:
    classes = len(task.classes)
    if task.exclusive:
        return _read_value(task, case, file, lambda value: _class_index(value, classes), torch.tensor(0))
    return _read_value(task, case, file, lambda value: _findings(value, classes), torch.zeros(classes))


def _read_value(
    task: Task, case: Case, file: Path, convert: Callable[[Any], Tensor], unknown: Tensor
) -> tuple[Tensor, Tensor]:
    if task.name not in case.values:
        return unknown, torch.tensor(False)
    try:
        return convert(case.values[task.name]), torch.tensor(True)
    except (TypeError, ValueError) as error:
        raise DataError(
            file,
            case.case,
            f"the label of {task.name} is {case.values[task.name]!r}: {error}.",
            "Correct the label, or leave it out where it is unknown.",
        ) from error


def _class_index(value: Any, classes: int) -> Tensor:
    if int(value) != value or not 0 <= value < classes:
        raise ValueError(f"expected the index of a class, 0 to {classes - 1}")
    return torch.tensor(int(value))


def _findings(value: Any, classes: int) -> Tensor:
    label: Tensor = torch.as_tensor(value, dtype=torch.float32).reshape(-1)
    if label.shape != (classes,) or not bool(((label == 0) | (label == 1)).all()):
        raise ValueError(f"expected {classes} numbers, each 0 or 1")
    return label
