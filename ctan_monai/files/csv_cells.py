"""Cells of tables that people open in a spreadsheet."""

from __future__ import annotations

from typing import Any


def safe_cell(value: Any) -> Any:
    """Keep a spreadsheet from taking a text for a formula; anything but a text stays as it is.

    >>> safe_cell("=1+1"), safe_cell(-1.5), safe_cell("pt_1")
    ("'=1+1", -1.5, 'pt_1')
    """
    if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r", "\n")):
        return "'" + value
    return value
