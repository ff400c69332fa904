"""The tables that ``ctan-monai prepare`` prints."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from ctan_monai.data.dicom.read.table import ACCEPTED, Row
from ctan_monai.data.lists.splits import SPLITS

if TYPE_CHECKING:
    from ctan_monai.data.datasets.prostate.prepare import Prepared


def cases_table(prepared: Prepared) -> Table:
    """Return how many cases each split has, and in how many a dose and each structure are known."""
    found = ", ".join(f"{count} {kind}" for kind, count in prepared.found.items())
    table = Table(title=f"Accepted cases (in the folder: {found})", title_justify="left")
    table.add_column("")
    groups = [[row for row in prepared.accepted if split in (row.split, "all")] for split in (*SPLITS, "all")]
    for split in (*SPLITS, "all"):
        table.add_column(split, justify="right")
    names = Counter(name for row in prepared.accepted for name in row.facts.get("structures", {}))
    lines: dict[str, list[int]] = {
        "patients": [len({row.patient for row in rows}) for rows in groups],
        "cases": [len(rows) for rows in groups],
        "with dose": [sum("dose" in row.facts for row in rows) for rows in groups],
    }
    for name, _ in names.most_common():
        lines[f"with {name}"] = [sum(name in row.facts.get("structures", {}) for row in rows) for rows in groups]
    for title, counts in lines.items():
        table.add_row(title, *map(str, counts))
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
