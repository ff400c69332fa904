"""The tables that ``ctan-monai prepare`` prints."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from ctan_monai.data.dicom.splits import SPLITS
from ctan_monai.data.dicom.table import ACCEPTED, Row

if TYPE_CHECKING:
    from ctan_monai.data.dicom.prepare import Prepared


def cases_table(prepared: Prepared) -> Table:
    """Return how many cases each split has, and in how many each structure is known."""
    accepted = prepared.accepted
    found = ", ".join(f"{count} {kind}" for kind, count in prepared.found.items())
    table = Table(title=f"Accepted cases (in the folder: {found})", title_justify="left")
    table.add_column("split")
    known = Counter(name for row in accepted for name in row.facts.get("structures", {}))
    names = [name for name, _ in known.most_common(8)]
    for column in ("patients", "cases", "with dose", *names):
        table.add_column(column, justify="right")
    for split in (*SPLITS, "all"):
        rows = [row for row in accepted if split in (row.split, "all")]
        with_dose = sum("dose" in row.facts for row in rows)
        counts = [sum(name in row.facts.get("structures", {}) for row in rows) for name in names]
        table.add_row(split, *map(str, (len({row.patient for row in rows}), len(rows), with_dose, *counts)))
    return table


def reasons_table(rows: Sequence[Row], most: int) -> Table:
    """Return why something was not accepted, with what to do, the commonest reasons first."""
    counts = Counter((row.what, row.reason, row.remedy) for row in rows if row.status != ACCEPTED)
    table = Table(title="Not accepted", title_justify="left")
    table.add_column("number", justify="right")
    for column in ("what", "reason", "remedy"):
        table.add_column(column)
    for (what, reason, remedy), count in counts.most_common(most):
        table.add_row(str(count), what, Text(reason), Text(remedy))
    if len(counts) > most:
        table.add_row("...", "", f"{len(counts) - most} more reasons in table.csv", "")
    return table
