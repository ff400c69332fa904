"""Dose errors in each structure: voxel by voxel, and of DVH metrics."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ctan_monai.aliases import takes_old_arguments
from ctan_monai.errors import ConfigError
from ctan_monai.metrics.base import NAN, CaseMetric, Record, check_finite, check_same_shape, known_mean
from ctan_monai.metrics.dose_values import parse_dose_value
from ctan_monai.tasks import Regression, Segmentation, present_key, region_key

if TYPE_CHECKING:
    from torch import Tensor

DEFAULT_METRICS = ("Dmean", "D2%", "D50%", "D95%", "D98%")


class StructureDose(CaseMetric):
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
        if dose.unit != "Gy" or not dose.pixel_level:
            found = f"the task {dose.name!r} is in {dose.unit} per {dose.level}, expected Gy per voxel."
            raise ConfigError("StructureDose: dose", found, "Name the dose task.")
        self.dose, self.structures = dose, structures
        self._dose_metrics = [parse_dose_value(text) for text in dose_metrics]
        if relative := [metric.name for metric in self._dose_metrics if metric.needs_prescription]:
            found = f"{relative} is relative to the prescription, which a batch does not tell."
            raise ConfigError("StructureDose: dose_metrics", found, "Name the dose: V57Gy.")

    def measure(
        self, case: str, prediction: Mapping[str, Tensor], target: Mapping[str, Tensor], spacing_mm: Sequence[float]
    ) -> Record:
        """Measure every structure of one case.

        Raises:
            DataError: shapes differ, or a dose is not finite.
        """
        name, masks = self.dose.name, target[self.structures.name]  # (L, *S)
        check_same_shape(name, case, prediction[name], target[name])
        check_same_shape(self.structures.name, case, masks[:1], target[name])
        check_finite(f"prediction of {name}", case, prediction[name])
        check_finite(f"label of {name}", case, target[name])
        reference, predicted = _array(target[name])[0], _array(prediction[name])[0]  # (*S)
        counts = self._known(target)
        present = target[present_key(self.structures)].tolist()  # (L,)
        record: Record = {}
        for label, mask, contoured in zip(self.structures.labels, _array(masks) > 0, present, strict=True):
            inside = mask & counts & contoured
            record |= self._structure(label, reference[inside], predicted[inside], math.prod(spacing_mm))
        return record

    def _known(self, target: Mapping[str, Tensor]) -> NDArray[Any]:
        """Return where the dose is known, (*S); () where that is everywhere or nowhere."""
        everywhere = np.asarray(bool(target[present_key(self.dose)]))
        region = target.get(region_key(self.dose))
        return everywhere if region is None else everywhere & (_array(region)[0] > 0)

    def _structure(self, label: str, reference: NDArray[Any], predicted: NDArray[Any], voxel_mm3: float) -> Record:
        """Compare the doses of one structure's voxels, (n,) each; n may be 0."""
        truth, guess = reference.astype("float64"), predicted.astype("float64")
        found = {f"{self.dose.name}_mae_{label}": float(abs(truth - guess).mean()) if truth.size else NAN}
        for metric in self._dose_metrics:
            for side, inside in (("reference", truth), ("prediction", guess)):
                found[f"{label}:{metric.name}:{side}"] = metric.read(inside, voxel_mm3) if inside.size else NAN
        return found

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


def _array(tensor: Tensor) -> NDArray[Any]:
    array: NDArray[Any] = tensor.detach().cpu().numpy()
    return array
