"""OpenKBP scores of folders of predictions in the challenge's file format."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctan_monai.data.datasets.openkbp.sparse import SIZE, read_entries, read_index, read_spacing
from ctan_monai.errors import DataError
from ctan_monai.metrics.base import natural_order
from ctan_monai.metrics.openkbp_official import (
    ORGANS,
    TARGETS,
    PatientScore,
    criteria_inside,
    dose_score,
    dvh_score,
    error_per_voxel,
)

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Matching:
    """Pairs of prediction and patient, by name.

    Args:
        pairs: patient -> (the reference's folder, the prediction's file), pt_2 before pt_10.
        without_prediction: patients of the reference that nothing was predicted for.
        without_reference: predictions of patients that the reference does not have.
    """

    pairs: Mapping[str, tuple[Path, Path]]
    without_prediction: tuple[str, ...]
    without_reference: tuple[str, ...]


@dataclass(frozen=True)
class FileScore:
    """The score of one file.

    Args:
        patient: what the official evaluator says about it.
        outside_mask_gy: the part of the dose error that comes from dose outside the possible-dose mask.
    """

    patient: PatientScore
    outside_mask_gy: float


def match_patients(reference: Path, prediction: Path) -> Matching:
    """Pair the patients of two folders by name.

    Args:
        reference: a folder of patients' folders, such as ``provided-data/validation-pats``.
        prediction: a folder of ``<patient>.csv``, or of ``<patient>/dose.csv``.

    Raises:
        DataError: the reference has no patient, no patient of both bears the same name, or a patient has two
            predictions.
    """
    folders = {p.name: p for p in reference.iterdir() if p.is_dir() and not p.name.startswith(".")}
    if not any((folder / "dose.csv").is_file() for folder in folders.values()):
        raise DataError(
            reference,
            None,
            "no folder in it holds a dose.csv.",
            "Give the folder of the patients' folders, such as provided-data/validation-pats.",
        )
    files = _predictions(prediction)
    pairs = {name: (folders[name], files[name]) for name in sorted(folders.keys() & files.keys(), key=natural_order)}
    if not pairs:
        raise DataError(
            prediction,
            None,
            f"no prediction bears the name of a patient; found {_some(files)}, the reference has {_some(folders)}.",
            "Name the predictions <patient>.csv or <patient>/dose.csv.",
        )
    without_prediction = sorted(folders.keys() - files.keys(), key=natural_order)
    without_reference = sorted(files.keys() - folders.keys(), key=natural_order)
    return Matching(pairs, tuple(without_prediction), tuple(without_reference))


def _some(names: Mapping[str, Any]) -> str:
    ordered = sorted(names, key=natural_order)
    return ", ".join(ordered[:3]) + (f" and {len(ordered) - 3} more" if len(ordered) > 3 else "") or "none"


def _predictions(folder: Path) -> dict[str, Path]:
    flat = {path.stem: path for path in folder.glob("*.csv") if not path.name.startswith(".")}
    nested = {path.parent.name: path for path in folder.glob("*/dose.csv") if not path.parent.name.startswith(".")}
    for name in sorted(flat.keys() & nested.keys()):
        raise DataError(folder, name, f"both {name}.csv and {name}/dose.csv are there.", "Keep the one to be scored.")
    return flat | nested


def score_files(patient: str, reference: Path, prediction: Path) -> FileScore:
    """Score a predicted dose as it is: nothing is masked, clipped or resampled.

    Args:
        patient: its name, for messages.
        reference: the patient's folder.
        prediction: the predicted dose, a sparse CSV file, Gy.

    Raises:
        DataError: a file is missing or garbled, a value is not finite, or the possible-dose mask is empty.
    """
    try:
        return _score(reference, prediction)
    except DataError as error:
        path = error.path if error.path.is_absolute() or error.path.exists() else reference
        raise DataError(path, patient, error.reason, error.remedy) from error


def _score(reference: Path, prediction: Path) -> FileScore:
    """Score from the files' entries: only the difference is looked at in the whole volume."""
    structures, criteria = _structures(reference), []
    voxel_mm3 = math.prod(read_spacing(reference / "voxel_dimensions.csv"))
    doses = [read_entries(path) for path in (reference / "dose.csv", prediction)]
    possible = read_index(reference / "possible_dose_mask.csv")
    dense, difference = np.zeros(SIZE), np.zeros(SIZE)  # double precision: equal to the official to the last digits
    for (index, values), operation in zip(doses, (np.add, np.subtract), strict=True):
        dense[index] = values
        criteria.append(criteria_inside({name: dense[voxels] for name, voxels in structures.items()}, voxel_mm3))
        dense[index] = 0.0
        difference[index] = operation(difference[index], values)
    error = error_per_voxel(float(np.abs(difference, out=difference).sum()), len(possible))
    difference[possible] = 0.0
    return FileScore(PatientScore(error, *criteria), float(difference.sum() / len(possible)))


def _structures(folder: Path) -> dict[str, NDArray[np.int64]]:
    """Read the voxels of each structure that the patient has."""
    found = {}
    for roi in (*ORGANS, *TARGETS):
        path = folder / f"{roi}.csv"
        if path.is_file():
            found[roi] = read_index(path)
            if not found[roi].size:
                _logger.warning("%s holds no voxel: the structure counts as absent, as in the official evaluator", path)
    return {roi: voxels for roi, voxels in found.items() if voxels.size}


def scores_as_json(scores: Mapping[str, FileScore], matching: Matching) -> dict[str, Any]:
    """Arrange scores as the official evaluator's results, with null for structures that a patient lacks.

    Returns:
        ``dose_score``, ``dvh_score``, and by patient ``dose_error``, ``reference_dvh`` and ``prediction_dvh``. Beside
        them ``complete_cases`` (patients with all four organs of the CTAN paper), ``dose_error_outside_mask`` and the
        names that had no counterpart.
    """
    patients = {name: score.patient for name, score in scores.items()}
    complete = {name: patient for name, patient in patients.items() if patient.complete}
    return {
        **_summary(patients),
        "dose_error": {name: patient.dose_error for name, patient in patients.items()},
        "reference_dvh": {name: _nullable(patient.reference) for name, patient in patients.items()},
        "prediction_dvh": {name: _nullable(patient.prediction) for name, patient in patients.items()},
        "complete_cases": {"patients": list(complete), **_summary(complete)},
        "dose_error_outside_mask": {name: score.outside_mask_gy for name, score in scores.items()},
        "patients_without_prediction": list(matching.without_prediction),
        "predictions_without_patient": list(matching.without_reference),
    }


def _summary(patients: Mapping[str, PatientScore]) -> dict[str, float | None]:
    return _nullable({"dose_score": dose_score(patients.values()), "dvh_score": dvh_score(patients.values())})


def _nullable(values: Mapping[str, float]) -> dict[str, float | None]:
    return {key: None if math.isnan(value) else value for key, value in values.items()}
