"""Reader of HAM10000_metadata.csv: lesion and diagnosis of each image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ctan_monai.data.lists.id_table import known_cell, read_id_table
from ctan_monai.errors import DataError

CLASSES = ("nv", "mel", "bkl", "bcc", "akiec", "vasc", "df")  # from frequent to rare; a class's index is its place
_REQUIRED = ("lesion_id", "image_id", "dx")
_ABOUT = ("dx_type", "age", "sex", "localization")
_REMEDY = "Download the table again (https://doi.org/10.7910/DVN/DBW86T)."


@dataclass(frozen=True)
class Row:
    """The table's row of an image.

    Args:
        lesion: number of the lesion, None if it is not known.
        patient: from a column patient_id, which HAM10000 itself does not have.
        diagnosis: index in `CLASSES`, None if it is not known.
        about: dx_type, age, sex and localization, as far as they are known.
    """

    lesion: str | None
    patient: str | None
    diagnosis: int | None
    about: Mapping[str, str | float]


def read_table(path: str | Path) -> dict[str, Row]:
    """Read the table.

    Args:
        path: comma- or tab-separated, with a header line; empty cells, nan and unknown say that something is not known.

    Returns:
        Rows by image id.

    Raises:
        DataError: it cannot be read, a column is missing, an image is listed twice, or a diagnosis is none of the
            seven; names the line.
    """
    path = Path(path)
    table = read_id_table(path, _REQUIRED, "image_id", "image", _REMEDY)
    return {image: _row(path, image, line, cells) for image, line, cells in table}


def _row(path: Path, image: str, line: int, cells: Mapping[str, str]) -> Row:
    diagnosis = known_cell(cells, "dx")
    if diagnosis is not None and diagnosis.lower() not in CLASSES:
        reason = f"line {line} has the diagnosis {diagnosis!r}, expected one of {', '.join(CLASSES)}."
        raise DataError(path, image, reason, "Correct it, or leave the cell empty if it is not known.")
    index = None if diagnosis is None else CLASSES.index(diagnosis.lower())
    about: dict[str, Any] = {name: known_cell(cells, name) for name in _ABOUT}
    about["age"] = _number(path, image, line, about["age"])
    known = {name: value for name, value in about.items() if value is not None}
    return Row(known_cell(cells, "lesion_id"), known_cell(cells, "patient_id"), index, known)


def _number(path: Path, image: str, line: int, text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError as error:
        raise DataError(path, image, f"line {line} has the age {text!r}.", "Give years, or leave it empty.") from error
