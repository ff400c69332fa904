"""Cohorts of synthetic patients, created once and reused."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from ctan_monai.data.dicom.write.identity import Clock, SeededUids
from ctan_monai.data.dicom.write.rtplan import Prescription
from ctan_monai.data.lists.splits import SPLITS
from ctan_monai.data.phantom.grid import PhantomGrid
from ctan_monai.data.phantom.patient import PHANTOM_VERSION, make_patient
from ctan_monai.data.phantom.write import write_patient_dicom
from ctan_monai.errors import ConfigError, DataError
from ctan_monai.files.atomic import replacing

_logger = logging.getLogger(__name__)
_RECORD = "cohort.json"
_OBJECTS = ("RS.dcm", "RP.dcm", "RD.dcm")
COHORT_TIME = datetime(2000, 1, 1, 12, 0, 0)  # the same seed writes the same bytes, whenever it does


@dataclass(frozen=True)
class Cohort:
    """Synthetic patients on the disk.

    Args:
        folder: holds a folder for each patient, named by PatientID.
        patients: PatientIDs, in order.
        splits: PatientIDs of train, validation and test.
        made: how many were made now; the others were there.
    """

    folder: Path
    patients: tuple[str, ...]
    splits: dict[str, tuple[str, ...]]
    made: int


def make_cohort(
    folder: str | Path,
    patients: int = 24,
    seed: int = 0,
    splits: Sequence[float] = (0.75, 0.125, 0.125),
    *,
    grid: PhantomGrid | None = None,
    prescription: Prescription | None = None,
    dose_mm: float = 3.0,
    missing_every: int = 0,
    missing: Sequence[str] = ("Femur_R", "Bladder", "Rectum", "Femur_L"),
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
        splits: fractions of train, validation and test; each that is not 0 gets at least one patient.
        grid: voxels of the CT.
        prescription: 60 Gy in 20 fractions by default.
        dose_mm: in-plane voxel size of the dose.
        missing_every: every so many patients lack the contours of one organ, as in clinics; 0: none does.
        missing: which organs these are, in turn.
        clock: tells the time that the objects are dated with.
        progress: show a bar in a terminal.

    Raises:
        ConfigError: counts, split fractions or names make no sense.
        DataError: the folder holds something else, another cohort or more patients, or cannot be written.
    """
    folder, grid, prescription = Path(folder), grid or PhantomGrid(), prescription or Prescription()
    ids = [f"PHANTOM{number:03d}" for number in range(1, patients + 1)]
    parts = _split(ids, splits)
    record: dict[str, Any] = {
        "synthetic": "These are synthetic phantoms, no real patients.",
        "version": PHANTOM_VERSION,
        "seed": seed,
        "grid": asdict(grid),
        "prescription": asdict(prescription),
        "dose_mm": dose_mm,
        "missing_every": missing_every,
        "missing": list(missing),
    }
    _check_folder(folder, record, ids)
    with replacing(folder / _RECORD) as temporary:
        temporary.write_text(json.dumps({**record, "splits": parts}, indent=1), encoding="utf-8")
    for leftover in folder.glob(".PHANTOM*.*"):  # of a run that was killed
        shutil.rmtree(leftover, ignore_errors=True)
    todo = [number for number, name in enumerate(ids, 1) if not _complete(folder / name, grid.slices)]
    _logger.info("SYNTHETIC cohort in %s: %d patients, %d to be made", folder, patients, len(todo))
    for number in _shown(todo, progress):
        without = _without(number, missing_every, missing)
        patient = make_patient((seed, number), grid, prescription=prescription, dose_mm=dose_mm, without=without)
        uids = SeededUids("phantom", PHANTOM_VERSION, seed, number, json.dumps(record, sort_keys=True))
        write_patient_dicom(patient, folder / ids[number - 1], clock, uids, number=number)
    return Cohort(folder, tuple(ids), {name: tuple(part) for name, part in parts.items()}, len(todo))


def _without(number: int, every: int, missing: Sequence[str]) -> tuple[str, ...]:
    if not every or number % every:
        return ()
    return (missing[(number // every - 1) % len(missing)],)


def _shown(todo: list[int], progress: bool) -> Any:
    from tqdm import tqdm

    return tqdm(todo, desc="synthetic patients", unit="patient", disable=None if progress and todo else True)


def _split(ids: list[str], fractions: Sequence[float]) -> dict[str, list[str]]:
    """Split patients by fractions; what rounding leaves goes to training."""
    wanted = sum(fraction > 0 for fraction in fractions)
    if len(fractions) != len(SPLITS) or min(fractions) < 0 or abs(sum(fractions) - 1) > 1e-6 or len(ids) < wanted:
        reason = f"{len(ids)} patients and fractions {list(fractions)} of {SPLITS}."
        raise ConfigError("splits", reason, "Give three fractions that add up to 1, and a patient for each.")
    last = [max(round(fraction * len(ids)), int(fraction > 0)) for fraction in fractions[1:]]
    if fractions[0] == 0:
        last[0] = len(ids) - last[1]
    first = len(ids) - sum(last)
    edges = [0, first, first + last[0], len(ids)]
    return {name: ids[edges[n] : edges[n + 1]] for n, name in enumerate(SPLITS)}


def _check_folder(folder: Path, record: dict[str, Any], ids: list[str]) -> None:
    """Check that a folder is this cohort's."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise DataError(folder, None, "it is a file.", "Give a folder.")
    held = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    if not held:
        return
    remedy = "Give a folder that is empty or not there."
    if _RECORD not in held:
        raise DataError(folder, None, f"it holds {held[:3]} and no {_RECORD}; it is no cohort of phantoms.", remedy)
    try:
        found = json.loads((folder / _RECORD).read_text(encoding="utf-8"))
        other = sorted(key for key, value in record.items() if found.get(key) != value)
    except (OSError, ValueError, AttributeError) as error:
        raise DataError(folder / _RECORD, None, f"it cannot be read ({error}).", remedy) from error
    strangers = sorted(set(held) - {_RECORD, *ids})
    if other:
        reason = f"it holds a cohort with another {', '.join(other)}: " + ", ".join(f"{found.get(k)}" for k in other)
        raise DataError(folder, None, f"{reason}.", remedy)
    if strangers:
        reason = f"besides the {len(ids)} patients asked for, it holds {strangers[:3]} ({len(strangers)} in all)."
        raise DataError(folder, None, reason, f"Ask for all its patients. {remedy}")


def _complete(folder: Path, slices: int) -> bool:
    """Tell whether a patient's files are complete.

    Raises:
        DataError: files are missing.
    """
    if not folder.exists():
        return False
    held = {path.name for path in folder.iterdir()}
    wanted = {*(f"CT.{index:04d}.dcm" for index in range(1, slices + 1)), *_OBJECTS}
    if wanted - held:
        reason = f"{len(wanted - held)} of its files are missing, such as {min(wanted - held)}."
        raise DataError(folder, folder.name, reason, "Delete this folder; it will be made again.")
    return True
