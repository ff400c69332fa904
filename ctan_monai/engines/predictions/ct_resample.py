"""Resample logits from the network's grid to predictions on the CT's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from ctan_monai.data.cases.resample import Resample
from ctan_monai.data.formats.ct_source import CtSource
from ctan_monai.engines.predictions.prediction_files import file_names
from ctan_monai.tasks import Task
from ctan_monai.transforms.postprocess import activate, postprocess_for

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class ResampledToCt:
    """Predictions on a CT's own grid.

    Args:
        masks: bool, by task and label.
        values: float32 in the task's unit, by name of the answer, which for a Regression is the task's.
    """

    masks: Mapping[str, Mapping[str, Array]]
    values: Mapping[str, Array]

    def structures(self) -> dict[str, Array]:
        """Return the masks of all tasks by label."""
        return {label: mask for masks in self.masks.values() for label, mask in masks.items()}

    def by_file(self, tasks: Iterable[Task]) -> dict[str, Array]:
        """Return all arrays by NIfTI file name."""
        given = tuple(tasks)
        names = file_names(given)
        return {names[task.name, name]: array for task in given for name, array in self.arrays_of(task).items()}

    def arrays_of(self, task: Task) -> dict[str, Array]:
        """Return the arrays of one task by name, none for an image-level task."""
        found = self.masks.get(task.name, self.values)
        return {name: found[name] for name in task.answer_names} if task.pixel_level else {}


def resample_to_ct(
    tasks: Iterable[Task], logits: Mapping[str, Tensor], affine_ras: Array, source: CtSource
) -> ResampledToCt:
    """Resample probabilities and values linearly to the CT's grid, then threshold or take the argmax.

    Probabilities, not masks, are interpolated, so that edges are smoother than the network's pixels.

    Args:
        tasks: voxel-level tasks; of others nothing is made.
        logits: (K, *S) by task.
        affine_ras: (4, 4) of the logits' grid.
        source: the CT to bring them to.
    """
    way = Resample(affine_ras, source.affine_ras, source.shape)
    masks: dict[str, dict[str, Array]] = {}
    values: dict[str, Array] = {}
    for task in tasks:
        if task.masks:
            masks[task.name] = _masks(task, activate(task, logits[task.name][None])[0], way)
        elif task.pixel_level:
            final = postprocess_for(task)(logits[task.name][None])[0].cpu().numpy()  # (K, *S), in the task's unit
            values.update(zip(task.answer_names, map(way.linear, final), strict=True))
    return ResampledToCt(masks, values)


def _masks(task: Task, probs: Tensor, way: Resample) -> dict[str, Array]:
    """Return a mask per label; probs (K, *S)."""
    each = [channel.cpu().numpy() for channel in probs]
    if not task.exclusive:
        return {label: way.mask(channel) for label, channel in zip(task.answer_names, each, strict=True)}
    return dict(zip(task.answer_names, way.most_probable(each[0], each[1:]), strict=True))
