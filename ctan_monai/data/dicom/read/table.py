"""The table of accepted cases, and of the reasons for the others."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ctan_monai.files.atomic import replace_text
from ctan_monai.files.csv_cells import csv_text

ACCEPTED, REJECTED, LEFT_OUT = "accepted", "rejected", "left out"


@dataclass(frozen=True)
class Row:
    """One CT series, or an object that belongs to none. Holds no identifier but pseudonyms.

    Args:
        patient: pseudonym.
        case: id of the case; empty for what belongs to no CT.
        what: CT, RTSTRUCT, RTDOSE ...
        status: accepted, rejected or left out.
        reason: why it was not accepted.
        remedy: what to do about it.
        split: train, validation or test.
        shape: of the arrays.
        spacing_mm: of the arrays.
        facts: what the case's meta says.
        files: SHA-256 of each file of the case, by its path within the prepared folder.
        source: the file at fault, relative to the folder that was read; for the console and the user's own list of
            identities, never written into the prepared folder, as names of files may tell who somebody is.
    """

    patient: str
    case: str
    what: str
    status: str
    reason: str = ""
    remedy: str = ""
    split: str = ""
    shape: tuple[int, ...] = ()
    spacing_mm: tuple[float, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    source: str = ""

    def flat(self) -> dict[str, Any]:
        """Return the row as cells of a table."""
        facts = self.facts
        return {
            "case": self.case,
            "patient": self.patient,
            "what": self.what,
            "status": self.status,
            "reason": self.reason,
            "remedy": self.remedy,
            "split": self.split,
            "shape": " x ".join(map(str, self.shape)),
            "spacing_mm": " x ".join(f"{mm:g}" for mm in self.spacing_mm),
            "structures": ", ".join(facts.get("structures", {})),
            "unknown_structures": ", ".join(facts.get("unknown_structures", [])),
            "prescription_gy": facts.get("prescription_gy"),
            "dose": facts.get("dose", ""),
            "dose_max_gy": facts.get("dose_max_gy"),
            "synthetic": facts.get("synthetic"),
            "notes": "; ".join(facts.get("notes", [])),
        }


def write_tables(rows: Sequence[Row], folder: Path) -> list[Path]:
    """Write ``table.csv`` and ``table.json``.

    Raises:
        DataError: they cannot be written.
    """
    text = csv_text(Row("", "", "", "").flat(), [list(row.flat().values()) for row in rows])
    content = {"table.csv": text, "table.json": json.dumps([_told(row) for row in rows], indent=1) + "\n"}
    for name, each in content.items():
        replace_text(folder / name, each)
    return [folder / name for name in content]


def _told(row: Row) -> dict[str, Any]:
    return {name: value for name, value in asdict(row).items() if name != "source"}


def prescriptions(rows: Sequence[Row]) -> dict[str, int]:
    """Count the accepted cases by prescription, as text in Gy; 'unknown' where it is not known."""
    found = [row.facts.get("prescription_gy") for row in rows if row.status == ACCEPTED]
    counts = Counter("unknown" if each is None else f"{each:g}" for each in found)
    return dict(sorted(counts.items()))


def reasons(rows: Sequence[Row]) -> dict[str, int]:
    """Count the reasons of exclusion, the most common first."""
    return dict(Counter(f"{row.what}: {row.reason}" for row in rows if row.status != ACCEPTED).most_common())
