"""CSV tables whose cells are safe in spreadsheets."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence
from typing import Any


def safe_cell(value: Any) -> Any:
    """Escape a text that a spreadsheet would take for a formula; other values are unchanged.

    >>> safe_cell("=1+1"), safe_cell(-1.5), safe_cell("pt_1")
    ("'=1+1", -1.5, 'pt_1')
    """
    if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r", "\n")):
        return "'" + value
    return value


def cell(value: Any) -> Any:
    """Return a value as a cell: None and nan are empty, texts are escaped."""
    unknown = value is None or (isinstance(value, float) and math.isnan(value))
    return "" if unknown else safe_cell(value)


def csv_text(columns: Iterable[str], rows: Iterable[Sequence[Any]]) -> str:
    """Format a table as CSV; None and nan are empty cells.

    >>> print(csv_text(["case", "dice"], [["a", 0.5], ["=b", float("nan")]]), end="")
    case,dice
    a,0.5
    '=b,
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([safe_cell(column) for column in columns])
    writer.writerows([cell(value) for value in row] for row in rows)
    return text.getvalue()
