"""CSV tables with one row per image or patient, as data sets publish them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from ctan_monai.data.cases.case import check_case_id
from ctan_monai.errors import DataError
from ctan_monai.files.csv_rows import csv_table
from ctan_monai.files.duplicates import check_header

UNKNOWN = {"", "nan", "na", "none", "null", "unknown"}  # cells, in any case, of what is not known


def known_cell(cells: Mapping[str, str], column: str) -> str | None:
    """Return the text of a cell, None where it is not known or the table has no such column."""
    text = cells.get(column, "")
    return None if text.lower() in UNKNOWN else text


def table_rows(path: Path, columns: Sequence[str], remedy: str) -> Iterable[tuple[int, dict[str, str]]]:
    """Return line number and cells of each row of a table that must have these columns, see `csv_table`.

    Raises:
        DataError: it cannot be read, or a column is missing or there twice.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(path, None, f"it cannot be read ({error}).", remedy) from error
    have, rows = csv_table(path, text)
    if missing := [column for column in columns if column not in have]:
        raise DataError(path, None, f"the columns {missing} are missing; it has {have}.", remedy)
    check_header(path, have)
    return rows


def read_id_table(
    path: Path, columns: Sequence[str], id_column: str, kind: str, remedy: str
) -> Iterator[tuple[str, int, dict[str, str]]]:
    """Yield id, line number and cells of each row of a table with a header line, see `csv_table`.

    Args:
        path: of the table.
        columns: that it must have.
        id_column: the one of them that holds the ids.
        kind: what an id stands for, for messages: image, patient.
        remedy: what to do where it is not such a table.

    Raises:
        DataError: it cannot be read, a column is missing or there twice, or an id cannot be used or is listed twice.
    """
    known: set[str] = set()
    for line, cells in table_rows(path, columns, remedy):
        name = check_case_id(cells[id_column])
        if name in known:
            raise DataError(path, name, f"line {line} lists this {kind} again.", f"List each {kind} once.")
        known.add(name)
        yield name, line, cells
