"""Dose statistics as the network answers them, in its own contours, beside the planned ones in the drawn contours."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctan_monai.engines.handlers.case_metrics_writer import case_csv
from ctan_monai.engines.predictions.prediction_files import is_dose
from ctan_monai.engines.predictions.predictions_index import PredictionsIndex, read_index
from ctan_monai.errors import DataError
from ctan_monai.files.json_files import write_text
from ctan_monai.metrics.dose_values import parse_dose_value
from ctan_monai.report.case_view import load_view
from ctan_monai.report.layout import CaseView

ANSWERED_FILE = "answered_doses.csv"
_METRICS = tuple(map(parse_dose_value, ("Dmean", "D2%", "D50%", "D95%", "D98%")))
_KEYS = ("case", "of", "answered", "planned")
Answers = dict[str, dict[str, tuple[float, float]]]  # by case and statistic: as answered, and as planned


def answered_doses(folder: Path, image: str = "ct") -> Answers:
    """Read the doses of predicted cases: in each contour that the network draws, of its own dose.

    Args:
        folder: of the predictions.
        image: a volume that the cases have.

    Returns:
        By case and statistic, such as ``Heart:Dmean``, Gy: what the network answers, nan where it found nothing, and
        what was planned in the contour that somebody drew, nan where one of the two is not known. Voxels whose planned
        dose is unknown are left out of both. Nothing where no dose and structures are predicted.

    Raises:
        DataError: a file is missing or damaged.
    """
    index = read_index(folder)
    return _measured(index, image) if any(map(is_dose, index.tasks)) else {}


def write_answered_doses(folder: Path, image: str = "ct") -> None:
    """Write ``answered_doses.csv`` into an evaluation's folder, for `read_answered_doses`; nothing without a dose.

    Raises:
        DataError: a file is missing or damaged, or the table cannot be written.
    """
    found = answered_doses(folder, image)
    values = [(case, of, pair) for case, statistics in found.items() for of, pair in statistics.items()]
    rows: list[dict[str, Any]] = [dict(zip(_KEYS, (case, of, *pair), strict=True)) for case, of, pair in values]
    if rows:
        write_text(case_csv(rows), folder / ANSWERED_FILE)


def read_answered_doses(folder: Path) -> Answers:
    """Read what `write_answered_doses` wrote; nothing where it is not there.

    Raises:
        DataError: the table is damaged.
    """
    path, found = folder / ANSWERED_FILE, Answers()
    if not path.is_file():
        return found
    try:
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                pair = (_number(row["answered"]), _number(row["planned"]))
                found.setdefault(row["case"], {})[row["of"]] = pair
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(path, None, f"it cannot be read ({error}).", "Evaluate again.") from error
    return found


def _number(cell: str) -> float:
    return float(cell) if cell else math.nan


def _measured(index: PredictionsIndex, image: str) -> Answers:
    return {case.case: _statistics(load_view(case, index.tasks, image, caption=False)[0]) for case in index.cases}


def _statistics(view: CaseView) -> dict[str, tuple[float, float]]:
    voxel_mm3 = float(abs(np.linalg.det(view.affine_ras[:3, :3])))
    found: dict[str, tuple[float, float]] = {}
    for name, mask in view.predicted.items():
        answered = _read(view.dose_predicted, mask, view.dose_region, voxel_mm3)
        planned = _read(view.dose_reference, view.reference.get(name), view.dose_region, voxel_mm3)
        found |= {f"{name}:{metric}": (answered[metric], planned[metric]) for metric in answered}
    return found


def _read(
    dose_gy: NDArray[Any] | None, mask: NDArray[Any] | None, region: NDArray[Any] | None, voxel_mm3: float
) -> Mapping[str, float]:
    """Read the statistics of a dose inside a mask (*S), as far as the dose is known; nan where it is nowhere."""
    if dose_gy is None or mask is None:
        return {metric.name: math.nan for metric in _METRICS}
    inside = dose_gy[mask.astype(bool) if region is None else mask.astype(bool) & region].astype(np.float64)
    return {metric.name: metric.read(inside, voxel_mm3) if inside.size else math.nan for metric in _METRICS}
