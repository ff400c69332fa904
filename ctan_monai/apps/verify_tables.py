"""The tables that ``ctan-monai verify`` prints."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from ctan_monai.data.datasets.tabular.checks import Checked, Problem

_STYLES = {"fault": "red", "warning": "yellow"}


def problems_table(problems: Sequence[Problem]) -> Table:
    """Return a line for each problem."""
    table = Table()
    for column in ("", "where", "case", "found", "remedy"):
        table.add_column(column, overflow="fold")
    for problem in problems:
        cells = (problem.level, problem.where, problem.case, problem.what, problem.remedy)
        table.add_row(*(Text(cell, style=_STYLES[problem.level] if at == 0 else "") for at, cell in enumerate(cells)))
    return table


def known_table(checked: Checked) -> Table:
    """Return how many cases each split has, and in how many each label is known."""
    table = Table()
    table.add_column("")
    for split in checked.cases:
        table.add_column(split, justify="right")
    table.add_row("cases", *(str(count) for count in checked.cases.values()))
    for name, counts in checked.known.items():
        table.add_row(Text(name), *(str(counts.get(split, 0)) for split in checked.cases))
    return table
