"""Cells of CSV tables that are safe in spreadsheets."""

from __future__ import annotations

from typing import Any


def safe_cell(value: Any) -> Any:
    """Escape a text that a spreadsheet would take for a formula; other values are unchanged.

    >>> safe_cell("=1+1"), safe_cell(-1.5), safe_cell("pt_1")
    ("'=1+1", -1.5, 'pt_1')
    """
    if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r", "\n")):
        return "'" + value
    return value
