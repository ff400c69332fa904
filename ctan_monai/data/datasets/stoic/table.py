"""STOIC's metadata/reference.csv: who had COVID-19, and whose became severe."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ctan_monai.data.cases.case import check_case_id
from ctan_monai.errors import DataError
from ctan_monai.files.duplicates import check_header

COVID, SEVERE = "covid", "severe"  # names of the labels in a case
_COLUMNS = {"PatientID": "", "probCOVID": COVID, "probSevere": SEVERE}
_UNKNOWN = {"", "nan", "na", "none", "null", "unknown"}


@dataclass(frozen=True)
class Row:
    """What the table says about a patient.

    Args:
        covid: 1 if the PCR was positive, 0 if not, None if it is not known.
        severe: 1 if the patient was intubated or had died a month later, 0 if not, None where it is not known and, as
            severity is that of COVID-19, in negatives; the published table has a 0 for these.
    """

    covid: int | None
    severe: int | None

    @property
    def labels(self) -> dict[str, int]:
        """Labels of a case: those that are known."""
        pairs = ((COVID, self.covid), (SEVERE, self.severe))
        return {name: value for name, value in pairs if value is not None}

    @property
    def stratum(self) -> str | None:
        """How the patient counts when patients are divided evenly; None where nothing is known."""
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
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(path, None, f"it cannot be read ({error}).", "Download the table again.") from error
    reader = csv.DictReader(lines)
    missing = [column for column in _COLUMNS if column not in (reader.fieldnames or ())]
    if missing:
        reason = f"the columns {missing} are missing; it has {reader.fieldnames}."
        raise DataError(path, None, reason, f"Give STOIC's table, with the columns {list(_COLUMNS)}.")
    check_header(path, reader.fieldnames)
    rows: dict[str, Row] = {}
    for cells in reader:
        patient = check_case_id((cells["PatientID"] or "").strip())
        if patient in rows:
            reason = f"line {reader.line_num} lists this patient again."
            raise DataError(path, patient, reason, "List each patient once.")
        rows[patient] = _row(path, patient, reader.line_num, cells)
    return rows


def _row(path: Path, patient: str, line: int, cells: Mapping[str, str | None]) -> Row:
    found = {column: _value(path, patient, line, column, cells) for column in _COLUMNS if column != "PatientID"}
    covid, severe = found["probCOVID"], found["probSevere"]
    if covid == 0 and severe == 1:
        reason = f"line {line} has severe COVID-19 without COVID-19."
        raise DataError(path, patient, reason, "Correct it, or leave a cell empty if it is not known.")
    return Row(covid, severe if covid == 1 or severe == 1 else None)


def _value(path: Path, patient: str, line: int, column: str, cells: Mapping[str, str | None]) -> int | None:
    text = (cells[column] or "").strip()
    if text.lower() in _UNKNOWN:
        return None
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if number not in (0.0, 1.0):
        reason = f"line {line} has {column} {text!r}, expected 0 or 1."
        raise DataError(path, patient, reason, "Correct it, or leave the cell empty if it is not known.")
    return int(number)
