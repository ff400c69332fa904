"""The tables that ``ctan-monai score`` prints."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from rich.table import Table
from rich.text import Text

from ctan_monai.metrics.base import known_mean
from ctan_monai.metrics.openkbp_official import (
    ORGAN_CRITERIA,
    ORGANS,
    TARGET_CRITERIA,
    TARGETS,
    PatientScore,
    dose_score,
    dvh_score,
)


def _gy(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"


def _table(title: str, columns: Iterable[str]) -> Table:
    table = Table(title=title, title_justify="left")
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left")
    return table


def summary_table(patients: Mapping[str, PatientScore]) -> Table:
    """Return dose and DVH score of all patients and of those with all four organs of the CTAN paper."""
    complete = [patient for patient in patients.values() if patient.complete]
    table = _table("OpenKBP scores, Gy (lower is better)", ("patients", "number", "dose score", "DVH score"))
    for name, group in (("all", list(patients.values())), ("all four organs", complete)):
        table.add_row(name, str(len(group)), _gy(dose_score(group)), _gy(dvh_score(group)))
    return table


def worst_table(patients: Mapping[str, PatientScore], number: int) -> Table:
    """Return the patients with the largest dose errors."""
    worst = sorted(patients.items(), key=lambda item: -item[1].dose_error)[:number]
    table = _table(f"Largest dose errors ({len(worst)} of {len(patients)}), Gy", ("patient", "dose error", "DVH error"))
    for name, patient in worst:
        table.add_row(Text(name), _gy(patient.dose_error), _gy(dvh_score([patient])))
    return table


def structure_table(patients: Mapping[str, PatientScore]) -> Table:
    """Return the mean absolute difference of every criterion, by structure."""
    criteria = (*ORGAN_CRITERIA, *TARGET_CRITERIA)
    table = _table("Mean absolute difference by structure, Gy", ("structure", "patients", *criteria))
    for roi in (*ORGANS, *TARGETS):
        errors = {name: [p.dvh_errors.get(f"{roi}:{name}", math.nan) for p in patients.values()] for name in criteria}
        counts = [sum(not math.isnan(error) for error in column) for column in errors.values()]
        table.add_row(roi, str(max(counts)), *(_gy(known_mean(column)) for column in errors.values()))
    return table
