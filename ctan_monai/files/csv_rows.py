"""Read the rows of a CSV table, refusing what would silently lose lines or shift cells."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path

from ctan_monai.errors import DataError

_EXCELS_SEPARATOR = re.compile(r'"?sep=([,;\t])"?')  # a line that Excel writes above the header
_QUOTED = re.compile(r'"[^"]*"')
_QUOTES = "Close each quote in its line, or double the quotes that belong to a text."

Row = tuple[int, dict[str, str]]


def csv_table(path: Path, text: str) -> tuple[list[str], list[Row]]:
    """Split a table with a header line into its cells.

    Commas, semicolons or tabs separate, whichever the header has most of; line ends are those of any system. Empty
    lines, and empty cells to the right of the header's last, are passed over.

    Args:
        path: of the table, for messages.
        text: its content.

    Returns:
        Names of the columns, and of each row the number of its line and the cells by column, without blanks around
        them.

    Raises:
        DataError: it is empty, a row has fewer or more cells than the header, or a quote is not closed where its cell
            ends; names the line.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    rows = [(line, row) for line, row in _rows(path, text) if any(row)]
    if not rows:
        raise DataError(path, None, "it is empty.", "Write a header line, then a line for each case.")
    columns = rows[0][1]
    while columns and not columns[-1]:  # spreadsheets leave empty columns at the right
        columns = columns[:-1]
    for line, row in rows[1:]:
        if len(row) < len(columns) or any(row[len(columns) :]):
            reason = f"line {line} has {len(row)} cells, the header {len(columns)}."
            raise DataError(path, None, reason, "Give each column a cell; put texts with separators in quotes.")
    return columns, [(line, dict(zip(columns, row, strict=False))) for line, row in rows[1:]]


def _rows(path: Path, text: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the number of the last line, and the cells, of each row.

    A quote that is not closed takes the lines behind it into its cell, up to the next quote.
    """
    lines = text.split("\n")
    first = next((number for number, line in enumerate(lines) if line.strip()), 0)
    if found := _EXCELS_SEPARATOR.fullmatch(lines[first].strip(" ")):
        lines[first], separator = "", found[1]
    else:
        separator = max(",;\t", key=_QUOTED.sub("", lines[first]).count)
    reader = csv.reader(io.StringIO("\n".join(lines)), delimiter=separator, strict=True)
    start, columns = 1, 0
    try:
        for row in reader:
            columns = columns or len(row)
            inner = [line for cell in row for line in cell.split("\n")[1:]]
            if columns > 1 and any(line.count(separator) >= columns - 1 for line in inner):
                reason = f"the quote that line {start} opens is closed in line {reader.line_num}, with rows between."
                raise DataError(path, None, reason, _QUOTES)
            yield reader.line_num, [cell.strip() for cell in row]
            start = reader.line_num + 1
    except csv.Error as error:
        raise DataError(path, None, f"line {start} cannot be read ({error}).", _QUOTES) from error
