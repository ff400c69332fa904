"""The scores of the OpenKBP challenge, equal to those of its official evaluator.

* Dose error of a patient: sum of |reference - prediction| over the whole volume, divided by the number of voxels of
  the possible-dose mask. Dose that spills out of the mask is punished. Dose score: mean over patients.
* DVH score: mean over all patients, structures and criteria of |reference - prediction|; for organs at risk D_0.1_cc
  and mean, for targets D_99, D_95 and D_1. A structure that a patient does not have counts nowhere.

Where the official code stops or warns, this one has an answer: a structure of fewer voxels than 0.1 cc takes its lowest
dose as D_0.1_cc (the official formula's value for exactly 0.1 cc); a patient without any structure has a dose error and
no criteria; an empty possible-dose mask, or a dose that is not finite, is a DataError.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctan_monai.errors import DataError
from ctan_monai.metrics.base import NAN, known_mean
from ctan_monai.metrics.dvh import Doses, dose_at_cc, dose_at_percent, doses_inside

ORGANS = ("Brainstem", "SpinalCord", "RightParotid", "LeftParotid", "Esophagus", "Larynx", "Mandible")
TARGETS = ("PTV56", "PTV63", "PTV70")
ORGAN_CRITERIA, TARGET_CRITERIA = ("D_0.1_cc", "mean"), ("D_99", "D_95", "D_1")
CRITERIA = tuple(f"{roi}:{name}" for roi in ORGANS for name in ORGAN_CRITERIA) + tuple(
    f"{roi}:{name}" for roi in TARGETS for name in TARGET_CRITERIA
)
COMPLETE = ("Brainstem", "SpinalCord", "RightParotid", "LeftParotid")  # the organs of the CTAN paper

Criteria = dict[str, float]


def dose_error_gy(reference_gy: NDArray[Any], prediction_gy: NDArray[Any], possible_dose: NDArray[Any]) -> float:
    """Compute the official dose error of one patient, Gy.

    Args:
        reference_gy: (*S) delivered dose, Gy.
        prediction_gy: (*S) predicted dose, Gy; not masked here.
        possible_dose: (*S) the possible-dose mask.

    Raises:
        DataError: the shapes differ, the mask is empty, or a dose is not finite.
    """
    if not reference_gy.shape == prediction_gy.shape == possible_dose.shape:
        raise DataError(
            "dose",
            None,
            f"shapes of reference, prediction and mask are {reference_gy.shape}, {prediction_gy.shape} and "
            f"{possible_dose.shape}.",
            "Give all three on one grid.",
        )
    difference = np.asarray(reference_gy, dtype=np.float64) - np.asarray(prediction_gy, dtype=np.float64)
    return error_per_voxel(float(np.abs(difference).sum()), int(np.count_nonzero(possible_dose)))


def error_per_voxel(total_gy: float, voxels: int, case: str | None = None) -> float:
    """Compute the dose error, Gy, from the sum of absolute differences and the size of the possible-dose mask.

    Raises:
        DataError: the mask is empty, or a dose is not finite.
    """
    if not voxels:
        raise DataError("possible_dose_mask", case, "it is empty.", "Check the patient's possible_dose_mask.csv.")
    if not math.isfinite(total_gy):
        raise DataError("dose", case, "it holds values that are not finite.", "Check reference and prediction.")
    return total_gy / voxels


def _criterion(name: str, inside: Doses, voxel_mm3: float) -> float:
    if name == "mean":
        return float(inside.mean())
    if name == "D_0.1_cc":
        return dose_at_cc(inside, 0.1, voxel_mm3)
    return dose_at_percent(inside, float(name.removeprefix("D_")))


def dvh_criteria(dose_gy: NDArray[Any], masks: Mapping[str, NDArray[Any]], voxel_mm3: float) -> Criteria:
    """Compute every official criterion of one patient's dose, Gy.

    Args:
        dose_gy: (*S) dose, Gy.
        masks: structure -> (*S); what is absent or empty is nan in the result, other structures are ignored.
        voxel_mm3: volume of a voxel, mm3.

    Returns:
        ``ROI:criterion`` -> Gy for all of `CRITERIA`, in the official order.

    Raises:
        DataError: a mask's shape is not the dose's.
    """
    present = {name: mask for name, mask in masks.items() if name in (*ORGANS, *TARGETS) and mask.any()}
    return criteria_inside({name: doses_inside(dose_gy, mask) for name, mask in present.items()}, voxel_mm3)


def criteria_inside(inside: Mapping[str, Doses], voxel_mm3: float) -> Criteria:
    """Compute the official criteria as `dvh_criteria` from the doses (n,), Gy, in the voxels of each structure."""
    found = dict.fromkeys(CRITERIA, NAN)
    for key in CRITERIA:
        roi, name = key.split(":")
        if roi in inside:
            found[key] = _criterion(name, inside[roi], voxel_mm3)
    return found


@dataclass(frozen=True)
class PatientScore:
    """The official scores of one patient.

    Args:
        dose_error: Gy.
        reference: the criteria of the delivered dose, Gy; nan = the patient has no such structure.
        prediction: the criteria of the predicted dose, Gy.
    """

    dose_error: float
    reference: Criteria = field(default_factory=dict)
    prediction: Criteria = field(default_factory=dict)

    @property
    def dvh_errors(self) -> Criteria:
        """Absolute difference of every criterion, Gy."""
        return {key: abs(value - self.prediction[key]) for key, value in self.reference.items()}

    @property
    def complete(self) -> bool:
        """Whether the patient has all four organs of the CTAN paper."""
        return not any(math.isnan(self.reference.get(f"{roi}:mean", NAN)) for roi in COMPLETE)


def score_patient(
    reference_gy: NDArray[Any],
    prediction_gy: NDArray[Any],
    possible_dose: NDArray[Any],
    masks: Mapping[str, NDArray[Any]],
    voxel_mm3: float,
) -> PatientScore:
    """Score one patient.

    Args:
        reference_gy: (*S) delivered dose, Gy.
        prediction_gy: (*S) predicted dose, Gy; not masked here.
        possible_dose: (*S) the possible-dose mask.
        masks: structure -> (*S); leave out what the patient does not have.
        voxel_mm3: volume of a voxel, mm3.

    Raises:
        DataError: the shapes differ, the possible-dose mask is empty, or a dose is not finite.
    """
    return PatientScore(
        dose_error_gy(reference_gy, prediction_gy, possible_dose),
        dvh_criteria(reference_gy, masks, voxel_mm3),
        dvh_criteria(prediction_gy, masks, voxel_mm3),
    )


def dose_score(patients: Iterable[PatientScore]) -> float:
    """Return the mean dose error over patients, Gy; nan without a patient."""
    return known_mean(patient.dose_error for patient in patients)


def dvh_score(patients: Iterable[PatientScore]) -> float:
    """Return the mean absolute difference over all patients, structures and criteria, Gy; nan without any."""
    return known_mean(error for patient in patients for error in patient.dvh_errors.values())
