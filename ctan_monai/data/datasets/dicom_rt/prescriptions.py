"""Prescriptions of patients from a table, by PatientID or folder."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from ctan_monai.data.dicom.read.link import Linked
from ctan_monai.data.lists.table import TABLE_SUFFIXES, Entry, is_unknown, read_table
from ctan_monai.errors import DataError

_logger = logging.getLogger(__name__)
_PATIENT, _FOLDER, _GY = "patient", "folder", "prescription_gy"
_REMEDY = "Write the columns patient (PatientID) or folder (within the folder of DICOM), and prescription_gy."
_GY_MAX = 100.0  # above it the number is cGy


@dataclass(frozen=True)
class Prescriptions:
    """A table of prescriptions.

    Args:
        path: its file.
        by_folder: its names are folders, not PatientIDs.
        gy: prescription in Gy by name.
    """

    path: Path
    by_folder: bool
    gy: Mapping[str, float]

    def of(self, linked: Sequence[Linked], in_dir: Path, required: bool = True) -> list[float | None]:
        """Return the prescription of each CT series, None for one that the table does not have.

        Of folders within each other the inner one counts. The log says how many the table has; it names nobody.

        Args:
            linked: CT series.
            in_dir: folder of DICOM.
            required: refuse a table that has none of them; False for new patients, whom that of training cannot have.

        Raises:
            DataError: the table has none of them.
        """
        keys = [self._key(each, in_dir) for each in linked]
        known = [key for key in keys if key is not None]
        if required and linked and not known:
            what = f"folders of {in_dir}" if self.by_folder else "PatientIDs of the data"
            reason = f"none of its {len(self.gy)} lines is of one of the {what}."
            raise DataError(self.path, None, reason, _REMEDY)
        words = "%d of %d CT series have their prescription from %s, the others from their RTPLANs"
        _logger.info(words, len(known), len(linked), self.path)
        unused = len(self.gy) - len(set(known))
        if required and unused:
            _logger.warning("%d of %d lines of %s are of no CT series here", unused, len(self.gy), self.path)
        return [None if key is None else self.gy[key] for key in keys]

    def _key(self, linked: Linked, in_dir: Path) -> str | None:
        if not self.by_folder:
            return linked.ct[0].patient_id if linked.ct[0].patient_id in self.gy else None
        place = PurePath(os.path.relpath(linked.ct[0].path.parent, in_dir))
        return next((each.as_posix() for each in (place, *place.parents) if each.as_posix() in self.gy), None)


def table_path(prescription: object) -> Path | None:
    """Return the path of a table that was given in place of a prescription; None if it was no table."""
    text = str(prescription)
    return Path(text).expanduser() if text.lower().endswith(TABLE_SUFFIXES) else None


def read_prescriptions(path: str | Path) -> Prescriptions:
    """Read a table, CSV or JSON (`read_table`), with the column ``patient`` or ``folder``, and ``prescription_gy``.

    Raises:
        DataError: it cannot be read, a column is missing, a cell is no dose in Gy, or a name stands twice; names the
            line, and no patient.
    """
    table = read_table(path)
    named = [column for column in (_PATIENT, _FOLDER) if column in table.columns]
    if len(named) != 1 or _GY not in table.columns:
        raise DataError(table.path, None, f"it has the columns {', '.join(table.columns)}.", _REMEDY)
    gy: dict[str, float] = {}
    first: dict[str, str] = {}
    for entry in table.entries:
        name = str(entry.cells.get(named[0], "") or "").strip()
        name = PurePath(name.replace("\\", "/")).as_posix() if name and named[0] == _FOLDER else name
        if not name or name in first:
            found = f"is that of {first[name]} too" if name else "is missing"
            raise DataError(table.path, None, f"{entry.where}: its {named[0]} {found}.", "Write one line for each.")
        first[name], gy[name] = entry.where, _dose(table.path, entry)
    return Prescriptions(table.path, named[0] == _FOLDER, gy)


def _dose(path: Path, entry: Entry) -> float:
    cell = entry.cells.get(_GY)
    try:
        value = float("nan") if is_unknown(cell) else float(str(cell))
    except ValueError:
        value = float("nan")
    if not 0 < value <= _GY_MAX:
        reason = f"{entry.where}: prescription_gy is {cell!r}, expected Gy, above 0 and at most {_GY_MAX:g}."
        raise DataError(path, None, reason, "Write Gy (not cGy), with a point, or leave the line out.")
    return value
