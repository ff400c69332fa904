"""Diagnoses over the rows and seeds of a comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ctan_monai.report.compare_files import Comparison
from ctan_monai.report.compare_tables import number
from ctan_monai.report.diagnosis_files import FOLDER, read_diagnosis
from ctan_monai.report.diagnosis_plots import concerns
from ctan_monai.report.html import Entry, Section, Table

_KINDS = ("image", "query", "cross", "mask")  # skips are on each run's page
_WORDS = (
    "Change of the task's metric when a part is exchanged, in the metric's unit: mean over the diagnosed seeds [lowest,"
    " highest seed]; worse k/n: in k of n networks the 95 % interval over cases leaves out 0 on the worse side. Shares:"
    " of the logits' variance that the part brings, mean over seeds. Each run's own page, diagnosis/diagnosis.html, has"
    " the rest."
)
_HINT = "Not diagnosed: {}. `ctan-monai diagnose runs/<row>/seed<k>/run`, then `ctan-monai report` here, adds them."


def diagnosis_section(comparison: Comparison) -> Section | None:
    """Create the section on the runs' diagnoses by `ctan-monai diagnose`; None where none was diagnosed.

    Args:
        comparison: its files.
    """
    found, missing = {}, []
    for row in comparison.rows:
        folders = [comparison.folder / training.folder for training in row.trainings]
        read = [read_diagnosis(folder / "run" / FOLDER) for folder in folders]
        known = [entry for entry in read if entry is not None]
        if known:
            found[row.name] = known
        elif row.method != "stl":
            missing.append(row.name)
    if not found:
        return None
    rows = [line for name, diagnoses in found.items() for line in _rows(name, diagnoses)]
    main: Mapping[str, Mapping[str, Any]] = next(iter(found.values()))[0]["main"]
    head = ["row", "part", "replaced by"]
    for task, metric in main.items():
        head += [f"{task}: change of {metric['label']} ({metric['unit']})", f"{task}: share"]
    words = [_WORDS, *([_HINT.format(", ".join(missing))] if missing else [])]
    return Section("Does each part act?", words, [Table(head, rows, dense=True)])


def _rows(name: str, diagnoses: Sequence[Mapping[str, Any]]) -> list[list[Entry]]:
    """Return a row for each exchange that all diagnoses of a row have."""
    tables = [
        {(tried["part"], tried["replacement"]): tried for tried in diagnosis["experiments"] if tried["kind"] in _KINDS}
        for diagnosis in diagnoses
    ]
    lines = []
    for key in tables[0]:
        if all(key in table for table in tables):
            tried = [table[key] for table in tables]
            cells: list[Entry] = [name, *key]
            for task, metric in diagnoses[0]["main"].items():
                cells += _cells(tried, task, metric) if concerns(tried[0], task) else ["", ""]
            lines.append(cells)
    return lines


def _cells(tried: Sequence[Mapping[str, Any]], task: str, metric: Mapping[str, Any]) -> list[Entry]:
    changes = [entry["metrics"][metric["key"]]["change"] for entry in tried]
    known = [metric["factor"] * value for value in changes if value is not None]
    worse = sum(entry["answers"][task] == "worse" for entry in tried)
    middle, low, high = (None, None, None) if not known else (float(np.mean(known)), min(known), max(known))
    span = f" [{number(low, sign=True)}, {number(high, sign=True)}]" if len(known) > 1 else ""
    shares = [share for entry in tried if (share := entry["variance_share"].get(task)) is not None]
    mean = float(np.mean(shares)) if shares else None
    return [f"{number(middle, sign=True)}{span}, worse {worse}/{len(tried)}", "" if mean is None else number(mean, 3)]
