"""Reader of STOIC 2021 as it is published: a CT per patient, and a table of two labels.

    data/mha/8622.mha ...            compressed MetaImage, 200 to 600 slices of 512 x 512
    metadata/reference.csv           PatientID,probCOVID,probSevere

The folders' names do not matter, and a CT may be NIfTI.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from ctan_monai.data.cases.case import Case
from ctan_monai.data.datasets.stoic.chest_case import ChestReader, check_names
from ctan_monai.data.datasets.stoic.chest_scan import SCAN_SUFFIXES, scan_name
from ctan_monai.data.lists.id_table import UNKNOWN, read_id_table
from ctan_monai.errors import DataError
from ctan_monai.files.whole_folder import SYNTHETIC_MARK

COVID, SEVERE = "covid", "severe"  # names of the labels in a case
_COLUMNS = {"PatientID": "", "probCOVID": COVID, "probSevere": SEVERE}
_REMEDY = f"Give STOIC's table, with the columns {list(_COLUMNS)}."
_logger = logging.getLogger(__name__)
TABLE_NAME = "reference.csv"
_DEPTHS = ("*", "*/*", "*/*/*", "*/*/*/*")
_SHOWN = 10


@dataclass(frozen=True)
class Row:
    """The table's row of a patient.

    Args:
        covid: 1 if the PCR was positive, 0 if not, None if it is not known.
        severe: 1 if the patient was intubated or had died a month later, 0 if not, None where it is not known and, as
            severity is that of COVID-19, in negatives; the published table has a 0 for these.
    """

    covid: int | None
    severe: int | None

    @property
    def labels(self) -> dict[str, int]:
        """Known labels of a case."""
        pairs = ((COVID, self.covid), (SEVERE, self.severe))
        return {name: value for name, value in pairs if value is not None}

    @property
    def stratum(self) -> str | None:
        """Stratum of the patient for stratified splits; None where no label is known."""
        if self.covid is None and self.severe is None:
            return None
        return "negative" if self.covid == 0 else "severe" if self.severe else "positive"


def read_reference(path: str | Path) -> dict[str, Row]:
    """Read the table.

    Args:
        path: a CSV file with the columns PatientID, probCOVID, probSevere; 0, 1 or empty.

    Returns:
        Rows by patient.

    Raises:
        DataError: it cannot be read, a column is missing, a patient is listed twice, a value is none of these, or a
            patient without COVID-19 is called severe.
    """
    path = Path(path)
    table = read_id_table(path, tuple(_COLUMNS), "PatientID", "patient", _REMEDY)
    return {patient: _row(path, patient, line, cells) for patient, line, cells in table}


def _row(path: Path, patient: str, line: int, cells: Mapping[str, str]) -> Row:
    found = {column: _value(path, patient, line, column, cells) for column in _COLUMNS if column != "PatientID"}
    covid, severe = found["probCOVID"], found["probSevere"]
    if covid == 0 and severe == 1:
        reason = f"line {line} has severe COVID-19 without COVID-19."
        raise DataError(path, patient, reason, "Correct it, or leave a cell empty if it is not known.")
    return Row(covid, severe if covid == 1 or severe == 1 else None)


def _value(path: Path, patient: str, line: int, column: str, cells: Mapping[str, str]) -> int | None:
    text = cells[column]
    if text.lower() in UNKNOWN:
        return None
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if number not in (0.0, 1.0):
        reason = f"line {line} has {column} {text!r}, expected 0 or 1."
        raise DataError(path, patient, reason, "Correct it, or leave the cell empty if it is not known.")
    return int(number)


@dataclass(frozen=True)
class Stoic:
    """Files of a STOIC folder.

    Args:
        root: the folder.
        scans: files by patient.
        table: the table's file.
        rows: of the table, by patient.
        synthetic: these are phantoms.
    """

    root: Path
    scans: Mapping[str, Path]
    table: Path
    rows: Mapping[str, Row]
    synthetic: bool


def find_stoic(dataset_dir: str | Path) -> Stoic:
    """Find CTs and their table, up to four folders deep.

    CTs without a row and rows without a CT are left out; the log lists them.

    Raises:
        DataError: there is no CT, no table or more than one, the table cannot be read, or two CTs have one name.
    """
    root = Path(dataset_dir)
    files = [path for depth in _DEPTHS for path in sorted(root.glob(depth)) if not path.name.startswith(".")]
    tables = [path for path in files if path.name == TABLE_NAME]
    scans = check_names([path for path in files if path.name.lower().endswith(SCAN_SUFFIXES) and path.is_file()])
    if not scans or len(tables) != 1:
        reason = (
            f"no STOIC data were found; there are {len(scans)} CTs and {len(tables)} tables. Looked, up to four "
            f"folders deep, for <PatientID>.mha and one {TABLE_NAME}."
        )
        remedy = "Give --dataset_dir the folder that holds data/mha and metadata, or leave it out for synthetic CTs."
        raise DataError(root, None, reason, remedy)
    rows = read_reference(tables[0])
    known = {patient: scans[patient] for patient in sorted(scans) if patient in rows}
    _list(root, scans.keys() - known.keys(), f"CTs have no row in {TABLE_NAME}")
    _list(root, rows.keys() - known.keys(), f"rows of {TABLE_NAME} have no CT")
    if not known:
        raise DataError(root, None, f"no CT has a row in {tables[0]}.", "Name the files as in the column PatientID.")
    return Stoic(root, known, tables[0], rows, (root / SYNTHETIC_MARK).is_file())


class StoicReader(ChestReader):
    """Read a patient's CT with its known labels as a case, for `CaseCache`.

    Args:
        table: the table's file; read once in each process.
        image_size: rows and columns.
        slice_mm: distance of slices; None keeps those of the CT.
    """

    def __init__(self, table: Path, image_size: Sequence[int], slice_mm: float | None = 3.0) -> None:
        super().__init__(image_size, slice_mm)
        self.table = table

    def __call__(self, path: Path) -> Case:
        """Read one patient.

        Raises:
            DataError: the CT or the table cannot be read.
        """
        case = super().__call__(path)
        return replace(case, values=self._row(path).labels, meta={**case.meta, "patient_id": case.case})

    def state(self, path: Path) -> str:
        """Return what a case depends on besides the CT's file."""
        return repr((self.image_size, self.slice_mm, self._row(path)))

    def _row(self, path: Path) -> Row:
        row = _rows(self.table, _stamp(self.table)).get(scan_name(path))
        if row is None:
            raise DataError(self.table, scan_name(path), "the patient is no longer listed.", "Start again.")
        return row


@lru_cache(maxsize=4)
def _rows(table: Path, stamp: tuple[int, int]) -> dict[str, Row]:
    return read_reference(table)


def _stamp(path: Path) -> tuple[int, int]:
    try:
        return path.stat().st_size, path.stat().st_mtime_ns
    except OSError as error:
        raise DataError(path, None, f"it cannot be read ({error.strerror}).", "Check the path.") from error


def _list(root: Path, names: Iterable[str], what: str) -> None:
    found: list[Any] = sorted(names)
    if found:
        more = " ..." if len(found) > _SHOWN else ""
        _logger.warning("%s: %d %s and are left out: %s%s", root, len(found), what, ", ".join(found[:_SHOWN]), more)
