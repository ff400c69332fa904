"""Agreement of predictions with labels, and their outlines, by kind of task, for reports."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from functools import singledispatch
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ctan_monai.data.cases.case import Case
from ctan_monai.metrics.for_task import metrics_for
from ctan_monai.tasks import Classification, Regression, Segmentation, Task, present_key, region_key, unregistered
from ctan_monai.transforms.labels import read_label

Array = NDArray[Any]


def measured(task: Task, case: Case, arrays: Mapping[str, Array]) -> dict[str, float]:
    """Compute the metrics (`metrics_for`) of one case.

    Args:
        task: a voxel-level task.
        case: with its label.
        arrays: (*S) on the case's grid, by name of the answer.
    """
    label, present = read_label(task, case, Path(case.case))
    prediction = torch.from_numpy(np.stack([arrays[name] for name in task.answer_names]))  # (K, *S)
    target = {task.name: label, present_key(task): present}
    if region_key(task) in case.masks:
        target[region_key(task)] = torch.from_numpy(case.masks[region_key(task)])[None]
    row: dict[str, Any] = {}
    for metric in metrics_for(task):
        metric.update(case.case, {task.name: prediction > 0 if task.masks else prediction}, target, case.spacing_mm)
        row.update(metric.rows()[0])
    return row


def caption_of(case: Case, parts: Iterable[str]) -> str:
    """Join what is said of a case, and say it first if its image is synthetic; empty parts are left out."""
    known = ["SYNTHETIC, no patient"] if case.meta.get("synthetic") else []
    return "; ".join([*known, *filter(None, parts)])


@singledispatch
def said_of(task: Task, row: Mapping[str, float]) -> list[str]:
    """Describe the agreement of a prediction with the label in a few words.

    Args:
        task: the task.
        row: its metrics on one case; nan where the label is unknown.

    Returns:
        Nothing where the label is unknown.

    Raises:
        ConfigError: nothing is known about this kind of task.
    """
    raise unregistered(task, "words for a report", "said_of")


@said_of.register
def _(task: Segmentation, row: Mapping[str, float]) -> list[str]:
    dice = row[f"{task.name}_dice"]
    return [] if math.isnan(dice) else [f"{task.name}: mean Dice {dice:.3g}"]


@said_of.register
def _(task: Regression, row: Mapping[str, float]) -> list[str]:
    places = {"mae": "", "mae_volume": " over the whole volume", "mae_region": f" inside {region_key(task)}"}
    errors = [(row.get(f"{task.name}_{name}", math.nan), place) for name, place in places.items()]
    known = [f"{error:.3g} {task.unit}{place}" for error, place in errors if not math.isnan(error)]
    return [f"{task.name}: mean absolute error {', '.join(known)}"] if known else []


@said_of.register
def _(task: Classification, row: Mapping[str, float]) -> list[str]:
    return []  # whose answer stands beside the label, class by class


@singledispatch
def outlines_of(task: Task, arrays: Mapping[str, Array]) -> dict[str, Array]:
    """Return the outlines of a voxel-level prediction.

    Args:
        task: the task.
        arrays: (*S) by name of the answer.

    Returns:
        Bool (*S) by name, nothing where there is nothing to outline.

    Raises:
        ConfigError: nothing is known about this kind of task.
    """
    raise unregistered(task, "outlines for a report", "outlines_of")


@outlines_of.register
def _(task: Segmentation, arrays: Mapping[str, Array]) -> dict[str, Array]:
    return {label: arrays[label] > 0 for label in task.labels if label in arrays}


@outlines_of.register(Regression)
@outlines_of.register(Classification)
def _(task: Task, arrays: Mapping[str, Array]) -> dict[str, Array]:
    return {}
