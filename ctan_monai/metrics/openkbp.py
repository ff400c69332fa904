"""The official OpenKBP scores as a metric of validation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from ctan_monai.errors import ConfigError, DataError
from ctan_monai.metrics.base import NAN, CaseMetric, Record
from ctan_monai.metrics.openkbp_official import (
    CRITERIA,
    ORGANS,
    TARGETS,
    PatientScore,
    dose_score,
    dvh_score,
    score_patient,
)
from ctan_monai.tasks import Regression, Segmentation, present_key, region_key

if TYPE_CHECKING:
    from torch import Tensor


def _array(tensor: Tensor) -> NDArray[Any]:
    array: NDArray[Any] = tensor.detach().cpu().numpy()
    return array


class OpenKBPScores(CaseMetric):
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
        if dose.unit != "Gy" or not dose.pixel_level:
            raise ConfigError(
                "OpenKBPScores: dose",
                f"the task {dose.name!r} is in {dose.unit} per {dose.level}, expected Gy per voxel.",
                "Name the dose task.",
            )
        if not set(structures.labels) & {*ORGANS, *TARGETS}:
            raise ConfigError(
                "OpenKBPScores: structures",
                f"none of {list(structures.labels)} is one of {[*ORGANS, *TARGETS]}.",
                "Name the task that holds the OpenKBP structures.",
            )
        self.dose, self.structures, self.mask_prediction = dose, structures, mask_prediction

    def measure(
        self, case: str, prediction: Mapping[str, Tensor], target: Mapping[str, Tensor], spacing_mm: Sequence[float]
    ) -> Record:
        """Score one patient; all nan if the dose is unknown.

        Raises:
            DataError: there is no possible-dose mask or it is empty, shapes differ, or a dose is not finite.
        """
        patient = PatientScore(NAN, dict.fromkeys(CRITERIA, NAN), dict.fromkeys(CRITERIA, NAN))
        if bool(target[present_key(self.dose)]):
            patient = self._score(case, prediction, target, math.prod(spacing_mm))
        return {
            "dose_error": patient.dose_error,
            **{f"{key}:reference": value for key, value in patient.reference.items()},
            **{f"{key}:prediction": value for key, value in patient.prediction.items()},
        }

    def _score(
        self, case: str, prediction: Mapping[str, Tensor], target: Mapping[str, Tensor], voxel_mm3: float
    ) -> PatientScore:
        region = target.get(region_key(self.dose))  # (1, *S)
        if region is None:
            raise DataError(
                "batch",
                case,
                f"found no {region_key(self.dose)}, expected the possible-dose mask.",
                f"Keep the mask {region_key(self.dose)} in the cases, and load it with the dose.",
            )
        possible = _array(region)[0] > 0  # (*S)
        predicted = _array(prediction[self.dose.name])[0]  # (*S)
        if self.mask_prediction and predicted.shape == possible.shape:
            predicted = predicted * possible
        known = target[present_key(self.structures)].tolist()  # (L,)
        labels = zip(self.structures.labels, _array(target[self.structures.name]) > 0, known, strict=True)
        masks = {name: mask for name, mask, present in labels if present}
        try:
            return score_patient(_array(target[self.dose.name])[0], predicted, possible, masks, voxel_mm3)
        except DataError as error:
            raise DataError(error.path, case, error.reason, error.remedy) from error

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
