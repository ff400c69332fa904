"""The official OpenKBP scores as a metric of validation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ctan_monai.errors import ConfigError, DataError
from ctan_monai.metrics.base import NAN, Record, Tensors, check_same_shape, check_unit
from ctan_monai.metrics.device_dvh import DosesInside
from ctan_monai.metrics.device_metric import DeviceMetric, Numbers
from ctan_monai.metrics.dose_values import parse_dose_value
from ctan_monai.metrics.openkbp_official import (
    CRITERIA,
    ORGAN_CRITERIA,
    ORGANS,
    TARGET_CRITERIA,
    TARGETS,
    PatientScore,
    dose_score,
    dvh_score,
    error_per_voxel,
)
from ctan_monai.tasks import Regression, Segmentation, present_key, region_key

_AS_METRIC = {name: parse_dose_value(text) for name, text in {
    "mean": "Dmean", "D_0.1_cc": "D0.1cc", "D_99": "D99%", "D_95": "D95%", "D_1": "D1%"
}.items()}  # fmt: skip


class OpenKBPScores(DeviceMetric):
    """Compute dose score and DVH score as the official evaluator does, in Gy (lower is better).

    Metrics: ``dose_score``, ``dvh_score``, and ``dose_score_complete``, ``dvh_score_complete`` over the patients who
    have all four organs of the paper (docs/adr/0002, A18). Rows: ``dose_error``, and ``<ROI>:<criterion>:reference``
    and ``:prediction``. The DVH score is the official one only if ``structures`` names all ten structures; otherwise it
    covers those that it names.

    Args:
        dose: the dose task; its region is the possible-dose mask.
        structures: where the structures' masks are found in the batch: a task, or another entry of that form.
        mask_prediction: set the predicted dose to zero outside the possible-dose mask, as a participant would who
            is given the mask. False scores the prediction as it is.

    Raises:
        ConfigError: the dose is not in Gy per voxel, or no structure is one of OpenKBP's.
    """

    def __init__(self, dose: Regression, structures: Segmentation, mask_prediction: bool = True) -> None:
        super().__init__()
        check_unit("OpenKBPScores: dose", dose, "Gy", "dose task")
        if not set(structures.labels) & {*ORGANS, *TARGETS}:
            raise ConfigError(
                "OpenKBPScores: structures",
                f"none of {list(structures.labels)} is one of {[*ORGANS, *TARGETS]}.",
                "Name the task that holds the OpenKBP structures.",
            )
        self.dose, self.structures, self.mask_prediction = dose, structures, mask_prediction

    def numbers(self, case: str, prediction: Tensors, target: Tensors, spacing_mm: Sequence[float]) -> Tensors:
        """Compute the scores of one patient.

        Raises:
            DataError: shapes differ.
        """
        present_dose, region = target[present_key(self.dose)], target.get(region_key(self.dose))  # (), (1, *S)
        if region is None:
            return {"present": present_dose}
        reference, predicted = target[self.dose.name], prediction[self.dose.name]
        masks = target[self.structures.name] > 0  # (L, *S)
        check_same_shape(self.dose.name, case, predicted, reference)
        check_same_shape(region_key(self.dose), case, region, reference)
        check_same_shape(self.structures.name, case, masks[:1], reference)
        if self.mask_prediction:
            predicted = predicted * (region > 0)
        present = target[present_key(self.structures)]  # (L,)
        contours = {roi: mask & known for roi, mask, known in zip(self.structures.labels, masks, present, strict=True)}
        return {
            "present": present_dose,
            "voxels": (region > 0).sum(),
            "difference": (reference.double() - predicted.double()).abs().sum(),
            "reference": self._criteria(reference[0], contours, math.prod(spacing_mm)),
            "prediction": self._criteria(predicted[0], contours, math.prod(spacing_mm)),
        }

    def _criteria(self, dose: Tensor, contours: Mapping[str, Tensor], voxel_mm3: float) -> Tensor:
        """Compute the criteria of one dose (*S), nan where a structure is not there."""
        found = dict.fromkeys(CRITERIA, dose.new_full((), NAN, dtype=torch.float64))
        for roi in contours.keys() & {*ORGANS, *TARGETS}:
            inside = DosesInside(dose, contours[roi])
            names = ORGAN_CRITERIA if roi in ORGANS else TARGET_CRITERIA
            found |= {f"{roi}:{name}": inside.read(_AS_METRIC[name], voxel_mm3) for name in names}
        return torch.stack(list(found.values()))

    def record(self, case: str, numbers: Numbers) -> Record:
        """Score one patient; all nan if the dose is unknown.

        Raises:
            DataError: there is no possible-dose mask or it is empty, or a dose is not finite.
        """
        keys = [f"{key}:{side}" for side in ("reference", "prediction") for key in CRITERIA]
        if not numbers["present"][0]:
            return dict.fromkeys(["dose_error", *keys], NAN)
        if "voxels" not in numbers:
            raise DataError(
                "batch",
                case,
                f"found no {region_key(self.dose)}, expected the possible-dose mask.",
                f"Keep the mask {region_key(self.dose)} in the cases, and load it with the dose.",
            )
        error = error_per_voxel(numbers["difference"][0], int(numbers["voxels"][0]), case)
        return {"dose_error": error, **dict(zip(keys, numbers["reference"] + numbers["prediction"], strict=True))}

    def patients(self) -> dict[str, PatientScore]:
        """Return the score of every patient, by case."""
        return {
            row["case"]: PatientScore(
                row["dose_error"],
                {key: row[f"{key}:reference"] for key in CRITERIA},
                {key: row[f"{key}:prediction"] for key in CRITERIA},
            )
            for row in self.rows()
        }

    def compute(self) -> dict[str, float]:
        """Return the scores over all patients and over those with all four organs; nan = nothing known."""
        everyone = list(self.patients().values())
        complete = [patient for patient in everyone if patient.complete]
        return {
            "dose_score": dose_score(everyone),
            "dvh_score": dvh_score(everyone),
            "dose_score_complete": dose_score(complete),
            "dvh_score_complete": dvh_score(complete),
        }
