"""Dose errors in each structure: voxel by voxel, and of DVH metrics."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ctan_monai.aliases import takes_old_arguments
from ctan_monai.errors import ConfigError
from ctan_monai.metrics.base import Record, Tensors, check_same_shape, check_unit, known_mean
from ctan_monai.metrics.device_dvh import DosesInside
from ctan_monai.metrics.device_metric import DeviceMetric, Numbers, check_finite, finite_counts, masked_mean
from ctan_monai.metrics.dose_values import parse_dose_value
from ctan_monai.tasks import Regression, Segmentation, present_key, region_key

SIDES = ("reference", "prediction")
DEFAULT_METRICS = ("Dmean", "D2%", "D50%", "D95%", "D98%")


class StructureDose(DeviceMetric):
    """Compute dose errors inside each reference contour, over the voxels whose dose is known.

    Rows, for a dose task named ``dose``: ``dose_mae_<structure>``, Gy, and ``<structure>:<metric>:reference`` and
    ``:prediction``. Metrics: the mean over cases of ``dose_mae_<structure>``, and ``dose_error_<structure>_<metric>``,
    the mean over cases of the absolute difference, Gy, % or cc as the metric is. All are nan where a case has no such
    structure, or no known dose in it.

    Args:
        dose: the dose task, in Gy per voxel; its region says where the dose is known.
        structures: where the structures' masks are found in the batch: a task, or another entry of that form.
        dose_metrics: what to read from the DVHs, such as Dmean, D95%, D0.03cc, V40Gy; see `parse_dose_value`.

    Raises:
        ConfigError: the dose is not in Gy per voxel, or a metric is unknown or relative to a prescription.
    """

    @takes_old_arguments("metrics.StructureDose")
    def __init__(
        self, dose: Regression, structures: Segmentation, dose_metrics: Sequence[str] = DEFAULT_METRICS
    ) -> None:
        super().__init__()
        check_unit("StructureDose: dose", dose, "Gy", "dose task")
        self.dose, self.structures = dose, structures
        self._dose_metrics = [parse_dose_value(text) for text in dose_metrics]
        if relative := [metric.name for metric in self._dose_metrics if metric.needs_prescription]:
            found = f"{relative} is relative to the prescription, which a batch does not tell."
            raise ConfigError("StructureDose: dose_metrics", found, "Name the dose: V57Gy.")
        self._keys: list[str] = []
        for label in structures.labels:
            metrics = [f"{label}:{metric.name}:{side}" for metric in self._dose_metrics for side in SIDES]
            self._keys += [f"{dose.name}_mae_{label}", *metrics]

    def numbers(self, case: str, prediction: Tensors, target: Tensors, spacing_mm: Sequence[float]) -> Tensors:
        """Measure every structure of one case.

        Raises:
            DataError: shapes differ.
        """
        name, masks = self.dose.name, target[self.structures.name] > 0  # (L, *S)
        check_same_shape(name, case, prediction[name], target[name])
        check_same_shape(self.structures.name, case, masks[:1], target[name])
        present = target[present_key(self.structures)]  # (L,)
        counted = masks & self._known(target) & present.reshape(-1, *[1] * (masks.ndim - 1))
        pairs = (target[name][0], prediction[name][0])  # (*S)
        found = [self._structure(*pairs, mask, math.prod(spacing_mm)) for mask in counted]
        checks = {"label": finite_counts(target[name]), "prediction": finite_counts(prediction[name])}
        return {"found": torch.cat(found), **checks}

    def _known(self, target: Tensors) -> Tensor:
        """Return where the dose is known, (1, *S); () where that is everywhere or nowhere."""
        everywhere = target[present_key(self.dose)].bool()
        region = target.get(region_key(self.dose))
        return everywhere if region is None else everywhere & (region > 0)

    def _structure(self, reference: Tensor, predicted: Tensor, mask: Tensor, voxel_mm3: float) -> Tensor:
        """Compare the doses (*S) inside one structure: the error, then each metric of both."""
        error = masked_mean((reference.double() - predicted.double()).abs(), mask)
        both = [DosesInside(dose, mask) for dose in (reference, predicted)]
        return torch.stack([error, *(side.read(metric, voxel_mm3) for metric in self._dose_metrics for side in both)])

    def record(self, case: str, numbers: Numbers) -> Record:
        """Name the numbers of every structure.

        Raises:
            DataError: a dose is not finite.
        """
        for what in ("prediction", "label"):
            check_finite(f"{what} of {self.dose.name}", case, numbers[what])
        return dict(zip(self._keys, numbers["found"], strict=True))

    def compute(self) -> dict[str, float]:
        """Return the means over cases; nan = nothing known."""
        metrics = {}
        for label in self.structures.labels:
            key = f"{self.dose.name}_mae_{label}"
            metrics[key] = self.mean(key)
            for name in (metric.name for metric in self._dose_metrics):
                pairs = zip(
                    self.values(f"{label}:{name}:reference"), self.values(f"{label}:{name}:prediction"), strict=True
                )
                metrics[f"{self.dose.name}_error_{label}_{name}"] = known_mean(abs(a - b) for a, b in pairs)
        return metrics
