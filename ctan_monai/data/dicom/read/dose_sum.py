"""Select the doses of a patient's plan, and sum them on one grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from ctan_monai.data.dicom.read.dose_file import DoseGrid, read_dose
from ctan_monai.data.dicom.read.ends import check_dose
from ctan_monai.data.dicom.read.geometry import Grid
from ctan_monai.data.dicom.read.header import Header
from ctan_monai.data.dicom.read.plan import Plan
from ctan_monai.errors import DataError

_EDGE = 1e-4  # voxels; the outermost voxel centers belong to the dose grid in spite of rounding

DoseAndRegion = tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]
Boost = Literal["refuse", "sum"]

_WHOLE = ("PLAN", "MULTI_PLAN")
_PARTS = ("BEAM", "BRACHY")


def dose_on_grid(dose: DoseGrid, grid: Grid) -> DoseAndRegion:
    """Resample a dose linearly to a grid.

    Any orientation of either grid and any spacing of the dose's frames are right, as positions are compared in
    millimeters.

    Args:
        dose: a dose on its own grid.
        grid: of the CT.

    Returns:
        dose_gy (rows, columns, slices) float32, 0 where it is unknown; region (rows, columns, slices) bool: the
        voxels within the hull of the dose's voxel centers, where it is known. Nothing is extrapolated.
    """
    from scipy.ndimage import map_coordinates

    # (row, column, slice) of the CT -> (row, column, mm along the normal) of the dose
    change = np.linalg.inv(dose.affine_lps) @ grid.affine_lps
    frames, rows, columns = dose.dose_gy.shape
    ends = ((0.0, rows - 1.0), (0.0, columns - 1.0), (float(dose.offsets_mm[0]), float(dose.offsets_mm[-1])))
    slack = (_EDGE, _EDGE, _EDGE * float(np.diff(dose.offsets_mm).min()))
    at_row = np.arange(grid.shape[0], dtype=np.float64)[:, None]
    at_column = np.arange(grid.shape[1], dtype=np.float64)[None, :]
    dose_gy = np.zeros(grid.shape, np.float32)
    region = np.zeros(grid.shape, np.bool_)
    numbers = np.arange(frames, dtype=np.float64)
    for number in range(grid.shape[2]):
        places = [line[0] * at_row + line[1] * at_column + (line[2] * number + line[3]) for line in change[:3]]
        inside = np.ones(grid.shape[:2], np.bool_)
        for place, (low, high), edge in zip(places, ends, slack, strict=True):
            inside &= (place >= low - edge) & (place <= high + edge)
        if not inside.any():
            continue
        row, column, along = (np.clip(place[inside], *end) for place, end in zip(places, ends, strict=True))
        frame = np.interp(along, dose.offsets_mm, numbers)
        dose_gy[inside, number] = map_coordinates(dose.dose_gy, [frame, row, column], order=1, prefilter=False)
        region[:, :, number] = inside
    return dose_gy, region


@dataclass(frozen=True)
class Chosen:
    """The RTDOSE objects whose sum is a plan's dose.

    Args:
        files: RTDOSE files to add.
        how: what they are, for the table: PLAN, MULTI_PLAN or BEAM.
        unused: how many others of this plan were left out.
    """

    files: tuple[Path, ...]
    how: str
    unused: int


def choose(doses: Sequence[Header]) -> Chosen:
    """Select the doses of a plan: the total if there is one, otherwise those of its beams.

    Args:
        doses: headers of the RTDOSEs of one plan, not empty.

    Raises:
        DataError: there are several doses of the whole plan, or only parts that do not add up to one.
    """
    remedy = "Keep the planned dose in the folder and take the others out."
    for kind in _WHOLE:
        found = [dose for dose in doses if dose.summation == kind]
        if len(found) > 1:
            raise DataError(found[0].path, None, f"there are {len(found)} doses of type {kind} for one plan.", remedy)
        if found:
            return Chosen((found[0].path,), kind, len(doses) - 1)
    parts = [dose for dose in doses if dose.summation in _PARTS]
    if not parts:
        kinds = sorted({dose.summation or "no type" for dose in doses})
        raise DataError(doses[0].path, None, f"the doses are of type {', '.join(kinds)}, none of a plan.", remedy)
    return Chosen(tuple(dose.path for dose in parts), "BEAM", len(doses) - len(parts))


def total_dose(
    chosen: Chosen, plan: Plan | None, grid: Grid, prescription_gy: float | None, repair: bool = False
) -> tuple[DoseAndRegion, set[str], list[str]]:
    """Read the doses of a plan and sum them on a grid.

    Args:
        chosen: what to add.
        plan: their plan, if it is known; it says which beams there are.
        grid: of the CT.
        prescription_gy: what relative doses refer to.
        repair: accept a CT that ends before the dose does.

    Returns:
        (dose_gy, region) as ``dose_on_grid`` gives them, the region being where all parts are known; the frames of
        reference; notes.

    Raises:
        DataError: a dose cannot be used, a beam is missing or there twice, the sum is no dose in Gy, or the CT was
            cut.
    """
    grids = [read_dose(path, prescription_gy) for path in chosen.files]
    if chosen.how == "BEAM":
        _check_beams(chosen, grids, plan)
    total, region = dose_on_grid(grids[0], grid)
    for part in grids[1:]:
        total, region = add([(total, region), dose_on_grid(part, grid)])
    notes = [note for part in grids for note in part.notes]
    if region.any():  # a dose beside the CT is another fault
        for path, part in zip(chosen.files, grids, strict=True):
            notes += check_dose(path, part, grid, repair)
    notes += [f"dose added up from {len(grids)} beams"] if chosen.how == "BEAM" else []
    notes += [f"{chosen.unused} other doses of the plan were not used"] if chosen.unused else []
    return (total, region), {part.frame_uid for part in grids}, list(dict.fromkeys(notes))


def add(doses: Sequence[DoseAndRegion]) -> DoseAndRegion:
    """Sum the doses of several plans; the sum is known where all are."""
    total, region = doses[0]
    for dose, known in doses[1:]:
        total, region = total + dose, region & known
    total[~region] = 0
    return total, region


def _check_beams(chosen: Chosen, grids: Sequence[DoseGrid], plan: Plan | None) -> None:
    remedy = "Export the dose of the whole plan, or of each beam once."
    named = [beam for grid in grids for beam in grid.beams]
    if len(set(named)) != len(named) or not all(grid.beams for grid in grids):
        reason = "two of the beams' doses are of the same beam, or one names no beam."
        raise DataError(chosen.files[0], None, reason, remedy)
    if plan is None or not plan.beams:
        reason = f"there are doses of {len(named)} beams, and no plan says how many it has."
        raise DataError(chosen.files[0], None, reason, remedy)
    missing = len(plan.beams - set(named))
    if missing:
        reason = f"the plan has {len(plan.beams)} beams, the doses of {missing} are missing."
        raise DataError(chosen.files[0], None, reason, remedy)
