"""The files of a diagnosis: diagnosis.json, and its tables as CSV."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ctan_monai.aliases import current_record
from ctan_monai.engines.handlers.case_metrics_writer import PER_CASE_FILE, case_csv
from ctan_monai.files.json_files import read_json, write_json, write_text

FOLDER, FILE = "diagnosis", "diagnosis.json"
Found = Mapping[str, Any]


def write_diagnosis(found: Found, folder: Path) -> None:
    """Write a diagnosis; empty cells and null are unknown.

    Args:
        found: of `diagnose_run`.
        folder: where to, made if it is missing.

    Raises:
        CheckpointError: a file cannot be written.
    """
    for name, rows in tables_of(found).items():
        if rows:
            write_text(case_csv(rows), folder / name)
    write_json({key: value for key, value in found.items() if key != "per_case"}, folder / FILE)  # the last file


def read_diagnosis(folder: Path) -> dict[str, Any] | None:
    """Read a folder's diagnosis.json, None where there is none or it does not apply."""
    found = read_json(folder / FILE)
    if found is None or not found.get("applies"):
        return None
    return {**current_record(found), "experiments": [current_record(tried) for tried in _tried(found)]}


def tables_of(found: Found) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of each CSV file."""
    return {
        PER_CASE_FILE: list(found.get("per_case", ())),
        "effects.csv": [_effect(tried, key, change) for tried in _tried(found) for key, change in _changes(tried)],
        "variance_shares.csv": [
            {**_names(tried), "answer": task, "share": share}
            for tried in _tried(found)
            for task, share in tried["variance_share"].items()
        ],
        "features.csv": list(found.get("features", ())),
        "masks.csv": [_flat_mask(row) for row in found.get("masks", ())],
        "gradients.csv": [_flat_gradient(row) for row in found.get("gradients", ())],
    }


def _tried(found: Found) -> Sequence[Mapping[str, Any]]:
    experiments: Sequence[Mapping[str, Any]] = found.get("experiments", ())
    return experiments


def _changes(tried: Mapping[str, Any]) -> list[tuple[str, Mapping[str, float]]]:
    return list(tried["metrics"].items())


def _names(tried: Mapping[str, Any]) -> dict[str, Any]:
    return {"part": tried["part"], "kind": tried["kind"], "replaced by": tried["replacement"]}


def _effect(tried: Mapping[str, Any], key: str, change: Mapping[str, float]) -> dict[str, Any]:
    return {**_names(tried), "metric": key, **change}


def _flat_mask(row: Mapping[str, Any]) -> dict[str, Any]:
    histogram = {f"bin_{index}": share for index, share in enumerate(row["histogram"])}
    return {**{key: value for key, value in row.items() if key != "histogram"}, **histogram}


def _flat_gradient(row: Mapping[str, Any]) -> dict[str, Any]:
    norms = {f"norm {task}": norm for task, norm in row["norm"].items()}
    return {"layer": row["layer"], **norms, **{f"cosine {pair}": value for pair, value in row["cosine"].items()}}
