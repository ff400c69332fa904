"""Read RTDOSE objects: dose and grid."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ctan_monai.data.dicom.read.geometry import Floats, plane_affine
from ctan_monai.data.dicom.read.reading import check_whole, read_dicom, reading
from ctan_monai.errors import DataError

_EXPORT = "Export the dose again, in Gy."
_MAX_GY = 200.0  # no plan of external beam therapy comes near; a dose in cGy lies far above
_NEGATIVE_GY = -1e-3
_SAME_MM = 1e-2
_ROUNDED_MM = 0.1  # absolute offsets may have fewer digits than ImagePositionPatient
_FRACTION_MAX, _PERCENT = 3.0, (30.0, 300.0)  # highest values of a relative dose: parts of 1, or of 100


@dataclass(frozen=True, eq=False)
class DoseGrid:
    """A dose on its own grid.

    Args:
        dose_gy: (frames, rows, columns) float32.
        affine_lps: (4, 4) (row, column, mm along the normal) -> mm; frames need not be evenly spaced.
        offsets_mm: (frames,) rising position of each frame along the normal.
        frame_uid: frame of reference.
        summation: DoseSummationType.
        beams: numbers of the beams that it names, for a BEAM dose.
        notes: what was converted.
    """

    dose_gy: npt.NDArray[np.float32]
    affine_lps: Floats
    offsets_mm: Floats
    frame_uid: str
    summation: str
    beams: frozenset[int]
    notes: tuple[str, ...] = ()


def read_dose(path: str | Path, prescription_gy: float | None = None) -> DoseGrid:
    """Read a dose.

    Args:
        path: an RTDOSE.
        prescription_gy: what a dose in relative units is a part of; without it such a dose is refused.

    Returns:
        The dose in Gy.

    Raises:
        DataError: it cannot be read, is no volume, its scaling, unit or offsets are missing or contradict each
            other, or the values are no absorbed dose in Gy (negative, or as high as cGy).
    """
    path = Path(path)
    with reading(path, "the dose"):
        dataset = read_dicom(path)
        check_whole(path, dataset)
        values = _scaled(path, dataset)
        affine, offsets, order = _geometry(path, dataset, values.shape[0])
        dose_gy, notes = _in_gy(path, dataset, values[order], prescription_gy)
        beams = _beams(dataset)
    return DoseGrid(
        dose_gy=dose_gy,
        affine_lps=affine,
        offsets_mm=offsets,
        frame_uid=str(dataset.get("FrameOfReferenceUID", "")),
        summation=str(dataset.get("DoseSummationType", "") or "").upper(),
        beams=beams,
        notes=tuple(notes),
    )


def _scaled(path: Path, dataset: Any) -> npt.NDArray[np.float32]:
    scaling = dataset.get("DoseGridScaling")
    if scaling is None or not float(scaling) > 0:
        raise DataError(path, None, f"DoseGridScaling is {scaling}.", _EXPORT)
    values = np.asarray(dataset.pixel_array * float(scaling), dtype=np.float32)
    if values.ndim != 3 or min(values.shape) < 2:
        found = f"the dose has the shape {values.shape}, expected at least 2 frames, rows and columns."
        raise DataError(path, None, found, _EXPORT)
    return values


def _in_gy(
    path: Path, dataset: Any, values: npt.NDArray[np.float32], prescription_gy: float | None
) -> tuple[npt.NDArray[np.float32], list[str]]:
    unit, kind = str(dataset.get("DoseUnits", "")).upper(), str(dataset.get("DoseType", "")).upper()
    notes = ["the dose is an effective dose (weighted for its biological effect)"] if kind == "EFFECTIVE" else []
    if kind == "ERROR":
        raise DataError(path, None, "the dose is a difference of doses (DoseType ERROR).", "Give the planned dose.")
    high = float(values.max())
    if unit == "RELATIVE":
        factor = _relative_factor(path, high, prescription_gy)
        values, high = values * np.float32(factor), high * factor
        notes.append(f"relative dose converted with a prescription of {prescription_gy:g} Gy")
    elif unit != "GY":
        raise DataError(path, None, f"DoseUnits is {unit or 'missing'}, expected GY or RELATIVE.", _EXPORT)
    if float(values.min()) < _NEGATIVE_GY:
        raise DataError(path, None, f"the dose falls to {values.min():g} Gy.", "Give the planned dose.")
    if high > _MAX_GY:
        found = f"the dose reaches {high:g} Gy, expected {_MAX_GY:g} at most; it may be in cGy or in percent."
        raise DataError(path, None, found, _EXPORT)
    if high <= 0:
        raise DataError(path, None, "the dose is zero everywhere.", "Export the dose after it has been calculated.")
    return np.maximum(values, np.float32(0)), notes


def _relative_factor(path: Path, high: float, prescription_gy: float | None) -> float:
    if prescription_gy is None:
        reason = f"the dose is in relative units (it reaches {high:g})."
        raise DataError(path, None, reason, "Export it in Gy, or give the prescription it refers to.")
    if 0 < high <= _FRACTION_MAX:
        return prescription_gy
    if _PERCENT[0] <= high <= _PERCENT[1]:
        return prescription_gy / 100.0
    reason = f"the relative dose reaches {high:g}, which is neither about 1 nor about 100."
    raise DataError(path, None, reason, _EXPORT)


def _geometry(path: Path, dataset: Any, frames: int) -> tuple[Floats, Floats, npt.NDArray[np.intp]]:
    orientation = np.array(dataset.ImageOrientationPatient, dtype=np.float64)
    position = np.array(dataset.ImagePositionPatient, dtype=np.float64)
    pixel_mm = np.array(dataset.PixelSpacing, dtype=np.float64)
    row, column = orientation[:3], orientation[3:]
    normal = np.cross(row, column)
    squares = np.array([row @ row, column @ column])
    if np.abs(squares - 1).max() > 1e-3 or abs(row @ column) > 1e-3 or pixel_mm.min() <= 0:  # six digits or so
        found = f"the dose grid's orientation is {orientation.tolist()}, its pixels {pixel_mm.tolist()} mm."
        raise DataError(path, None, found, _EXPORT)
    offsets = _offsets(path, dataset, frames, position, normal)
    order = np.argsort(offsets)
    rising = offsets[order]
    if np.diff(rising).min() < _SAME_MM:
        raise DataError(path, None, "two frames of the dose lie at one place.", _EXPORT)
    return plane_affine(row, column, pixel_mm, position, normal), rising, order


def _offsets(path: Path, dataset: Any, frames: int, position: Floats, normal: Floats) -> Floats:
    """Return the position of each frame along the normal, counted from ImagePositionPatient.

    The first offset is 0 for relative ones. Absolute ones (older, transverse planes only) are the frames' z.

    Source: DICOM PS3.3 C.8.8.3.2.
    """
    offsets = np.array(dataset.get("GridFrameOffsetVector") or [], dtype=np.float64).reshape(-1)
    if offsets.shape != (frames,) or not np.isfinite(offsets).all():
        found = f"GridFrameOffsetVector has {offsets.size} entries, the dose {frames} frames."
        raise DataError(path, None, found, _EXPORT)
    if abs(offsets[0]) < _SAME_MM:
        return offsets
    transverse = abs(abs(normal[2]) - 1) < 1e-4
    if transverse and abs(offsets[0] - position[2]) < _ROUNDED_MM:
        return np.asarray((offsets - offsets[0]) * np.sign(normal[2]))
    found = (
        f"GridFrameOffsetVector begins with {offsets[0]:g}, expected 0 (relative) or, for transverse planes, the z of "
        f"ImagePositionPatient (absolute; {position[2]:g})."
    )
    raise DataError(path, None, found, _EXPORT)


def _beams(dataset: Any) -> frozenset[int]:
    plans = list(dataset.get("ReferencedRTPlanSequence") or [])
    groups = [group for plan in plans for group in plan.get("ReferencedFractionGroupSequence") or []]
    beams = [beam for group in groups for beam in group.get("ReferencedBeamSequence") or []]
    return frozenset(int(beam.ReferencedBeamNumber) for beam in beams)
