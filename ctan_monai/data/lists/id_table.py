"""CSV tables with one row per image or patient, as data sets publish them."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from ctan_monai.data.cases.case import check_case_id
from ctan_monai.errors import DataError
from ctan_monai.files.duplicates import check_header

UNKNOWN = {"", "nan", "na", "none", "null", "unknown"}  # cells, in any case, of what is not known


def read_id_table(
    path: Path, columns: Sequence[str], id_column: str, kind: str, remedy: str
) -> Iterator[tuple[str, int, dict[str, str | None]]]:
    """Yield id, line number and cells of each row of a comma- or tab-separated table with a header line.

    Args:
        path: of the table.
        columns: that it must have.
        id_column: the one of them that holds the ids.
        kind: what an id stands for, for messages: image, patient.
        remedy: what to do where it is not such a table.

    Raises:
        DataError: it cannot be read, a column is missing or there twice, or an id cannot be used or is listed twice.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(path, None, f"it cannot be read ({error}).", remedy) from error
    reader = csv.DictReader(lines, delimiter="\t" if lines and "\t" in lines[0] else ",")
    missing = [column for column in columns if column not in (reader.fieldnames or ())]
    if missing:
        raise DataError(path, None, f"the columns {missing} are missing; it has {reader.fieldnames}.", remedy)
    check_header(path, reader.fieldnames)
    known: set[str] = set()
    for cells in reader:
        name = check_case_id((cells[id_column] or "").strip())
        if name in known:
            reason = f"line {reader.line_num} lists this {kind} again."
            raise DataError(path, name, reason, f"List each {kind} once.")
        known.add(name)
        yield name, reader.line_num, cells
