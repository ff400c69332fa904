"""Dice and Jaccard scores per label, on whole volumes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ctan_monai.metrics.base import NAN, Record, Tensors, check_same_shape, known_mean
from ctan_monai.metrics.device_metric import DeviceMetric, Numbers
from ctan_monai.tasks import Segmentation, present_key


def dice_scores(predicted: Tensor, label: Tensor) -> Tensor:
    """Compute the Dice score of each mask of (L, *S) bool, (L,) float32; 1 where both are empty.

    `monai.metrics.compute_dice` with ``ignore_empty=False``, which asks the device for the size of each mask.
    """
    # one sum for each label: on a CPU 20 times as fast as along an axis
    sizes = [torch.stack([each.sum() for each in masks]) for masks in (predicted & label, predicted, label)]
    both, one, other = sizes  # (L,) each
    return torch.where(one + other > 0, 2.0 * both / (one + other), 1.0)


class SegmentationDice(DeviceMetric):
    """Compute the Dice score of each label, in [0, 1], per case (a patient's volume, never a slice).

    * A label that is unknown for a case (not contoured) is nan there and counts nowhere.
    * A label that is known to be absent, its reference empty, counts: 1 if the prediction is empty too, 0 if
      anything is predicted. (`monai.metrics.DiceMetric` skips such cases by default, so that false positives on an
      absent structure would cost nothing.)

    Metrics, for a task named ``oar``:

    * ``oar_dice_<label>``: mean over the cases in which the label is known.
    * ``oar_dice``: mean over cases of the case's mean over its known labels. Each patient weighs the same, however
      many of their structures are contoured.
    * ``oar_dice_complete``: the same over the cases in which every label is known (docs/adr/0002, A18).

    Args:
        task: the segmentation that is measured.
    """

    def __init__(self, task: Segmentation) -> None:
        super().__init__()
        self.task = task
        self._key = f"{task.name}_dice"
        self._label_keys = [f"{self._key}_{label}" for label in task.labels]

    def numbers(self, case: str, prediction: Tensors, target: Tensors, spacing_mm: Sequence[float]) -> Tensors:
        """Compute the Dice of every label of one case.

        Raises:
            DataError: prediction and label differ in shape.
        """
        predicted, label = prediction[self.task.name] > 0, target[self.task.name] > 0  # (L, *S) bool
        check_same_shape(self.task.name, case, predicted, label)
        return {"dice": dice_scores(predicted, label), "present": target[present_key(self.task)]}  # (L,) each

    def record(self, case: str, numbers: Numbers) -> Record:
        """Return the Dice of every known label."""
        pairs = zip(numbers["dice"], numbers["present"], strict=True)
        found = [value if known else NAN for value, known in pairs]
        return {self._key: known_mean(found), **dict(zip(self._label_keys, found, strict=True))}

    def compute(self) -> dict[str, float]:
        """Return the mean Dice, that over complete cases, and that of each label."""
        complete = [r[self._key] for r in self.records if not any(math.isnan(r[key]) for key in self._label_keys)]
        return {
            self._key: self.mean(self._key),
            f"{self._key}_complete": known_mean(complete),
            **{key: self.mean(key) for key in self._label_keys},
        }

    def selection(self) -> float | None:
        """Return the mean Dice."""
        dice = self.mean(self._key)
        return None if math.isnan(dice) else dice


class SegmentationJaccard(SegmentationDice):
    """Compute the Jaccard index (intersection over union) of each label per case, as `SegmentationDice` the Dice.

    Metrics, for a task named ``tumor``: ``tumor_jaccard`` and ``tumor_jaccard_<label>``. A mean of Jaccard indices does
    not follow from a mean of Dice scores, each of them does: J = D / (2 - D).

    Args:
        task: the segmentation that is measured.
    """

    def record(self, case: str, numbers: Numbers) -> Record:
        """Return the Jaccard index of every known label."""
        dice = super().record(case, numbers)
        found = {self._jaccard(key): dice[key] / (2 - dice[key]) for key in self._label_keys}
        return {self._jaccard(self._key): known_mean(found.values()), **found}

    def _jaccard(self, key: str) -> str:
        return f"{self.task.name}_jaccard{key.removeprefix(self._key)}"

    def compute(self) -> dict[str, float]:
        """Return the mean Jaccard index, and that of each label."""
        return {key: self.mean(key) for key in map(self._jaccard, (self._key, *self._label_keys))}

    def selection(self) -> float | None:
        """Return None: the Dice selects the best model."""
        return None
