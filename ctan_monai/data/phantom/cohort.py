"""Cohorts of synthetic patients, created once and reused."""

from __future__ import annotations

import json
import logging
import shutil
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from ctan_monai.data.dicom.write.identity import Clock, SeededUids
from ctan_monai.data.phantom.grid import PhantomGrid
from ctan_monai.data.phantom.patient import PHANTOM_VERSION, SITES, make_patient
from ctan_monai.data.phantom.write import write_patient_dicom
from ctan_monai.errors import DataError
from ctan_monai.files.atomic import replace_text
from ctan_monai.files.progress_bar import progress_bar

_logger = logging.getLogger(__name__)
_RECORD = "cohort.json"
_OBJECTS = ("RS.dcm", "RP.dcm", "RD.dcm")
_REMEDY = "Give a folder that is empty or not there."
COHORT_TIME = datetime(2000, 1, 1, 12, 0, 0)  # the same seed writes the same bytes, whenever it does


@dataclass(frozen=True)
class Cohort:
    """Synthetic patients on the disk.

    Args:
        folder: holds a folder for each patient, named by PatientID.
        patients: PatientIDs, in order.
        made: how many were made now; the others were there.
    """

    folder: Path
    patients: tuple[str, ...]
    made: int


def make_cohort(
    folder: str | Path,
    patients: int = 24,
    seed: int = 0,
    *,
    grid: PhantomGrid | None = None,
    clock: Clock = lambda: COHORT_TIME,
    progress: bool = True,
) -> Cohort:
    """Create synthetic patients as DICOM, or reuse existing ones.

    A patient depends on the seed and on its number only. A folder has its patient's name only when it is complete, so
    a cohort that was interrupted is continued. Asking for more patients adds them. One process at a time.

    Args:
        folder: for these patients only; a folder that holds something else is refused, so that synthetic data never
            get among real ones.
        patients: how many.
        seed: of all of them.
        grid: voxels of the CT.
        clock: tells the time that the objects are dated with.
        progress: show a progress bar.

    Raises:
        DataError: the folder holds something else, another cohort or more patients, or cannot be written.
    """
    folder, grid = Path(folder), grid or PhantomGrid()
    ids = [f"PHANTOM{number:03d}" for number in range(1, patients + 1)]
    record: dict[str, Any] = {
        "synthetic": "These are synthetic phantoms, no real patients.",
        "version": PHANTOM_VERSION,
        "seed": seed,
        "grid": grid.to_json(),
    }
    _check_folder(folder, record, ids)
    replace_text(folder / _RECORD, json.dumps(record, indent=1))
    for leftover in folder.glob(".PHANTOM*.*"):  # of a run that was killed
        shutil.rmtree(leftover, ignore_errors=True)
    todo = [number for number, name in enumerate(ids, 1) if not _complete(folder / name, grid)]
    _logger.info("SYNTHETIC cohort in %s: %d patients, %d to be made", folder, patients, len(todo))
    shown = progress and bool(todo)
    for number in progress_bar(todo, "synthetic patients", "patient", shown=shown):
        uids = SeededUids("phantom", PHANTOM_VERSION, seed, number, json.dumps(record, sort_keys=True))
        given = SITES[grid.region].prescriptions
        patient = make_patient((seed, number), grid, prescription=given[(number - 1) % len(given)])
        write_patient_dicom(patient, folder / ids[number - 1], clock, uids, number=number)
    return Cohort(folder, tuple(ids), len(todo))


def _check_folder(folder: Path, record: dict[str, Any], ids: list[str]) -> None:
    """Check that a folder is this cohort's."""
    if folder.exists() and not folder.is_dir():
        raise DataError(folder, None, "it is a file.", "Give a folder.")
    held = sorted(path.name for path in folder.glob("*") if not path.name.startswith("."))
    if not held:
        return
    if _RECORD not in held:
        raise DataError(folder, None, f"it holds {held[:3]} and no {_RECORD}; it is no cohort of phantoms.", _REMEDY)
    try:
        found = json.loads((folder / _RECORD).read_text(encoding="utf-8"))
        other = sorted(key for key, value in record.items() if found.get(key) != value)
    except (OSError, ValueError, AttributeError) as error:
        raise DataError(folder / _RECORD, None, f"it cannot be read ({error}).", _REMEDY) from error
    if other:
        reason = f"it holds a cohort with another {', '.join(other)}: " + ", ".join(f"{found.get(k)}" for k in other)
        raise DataError(folder, None, f"{reason}.", _REMEDY)
    if strangers := sorted(set(held) - {_RECORD, *ids}):
        reason = f"besides the {len(ids)} patients asked for, it holds {strangers[:3]} ({len(strangers)} in all)."
        raise DataError(folder, None, reason, f"Ask for all its patients. {_REMEDY}")


def _complete(folder: Path, grid: PhantomGrid) -> bool:
    """Tell whether a patient's files are complete.

    Raises:
        DataError: files are missing.
    """
    if not folder.exists():
        return False
    wanted = {*(f"{grid.modality}.{index:04d}.dcm" for index in range(1, grid.slices + 1)), *_OBJECTS}
    if missing := wanted - {path.name for path in folder.iterdir()}:
        reason = f"{len(missing)} of its files are missing, such as {min(missing)}."
        raise DataError(folder, folder.name, reason, "Delete this folder; it will be made again.")
    return True
