"""Checksums of a prepared folder, and their verification."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ctan_monai.data.cases.cache import CASE_SUFFIX, read_case_file
from ctan_monai.data.cases.case import Case
from ctan_monai.data.dicom.read.outputs import CASES, RECORD, sha256
from ctan_monai.data.dicom.read.table import Row
from ctan_monai.data.lists.splits import SPLITS
from ctan_monai.errors import DataError
from ctan_monai.files.atomic import replacing
from ctan_monai.files.progress_bar import progress_bar

MANIFEST = "manifest.json"
_PREPARE = "Prepare the data again; what is whole is kept."


def write_manifest(folder: Path, rows: Iterable[Row], others: Sequence[Path]) -> None:
    """Write ``manifest.json``: SHA-256 digests by path.

    Raises:
        DataError: it cannot be written.
    """
    files = {path.name: sha256(path) for path in others}
    for row in rows:
        files.update(row.files)
        if (folder / row.case / RECORD).is_file() and row.case:  # what a case in NIfTI is made of
            files[f"{row.case}/{RECORD}"] = sha256(folder / row.case / RECORD)
    with replacing(folder / MANIFEST) as temporary:
        temporary.write_text(json.dumps({"sha256": dict(sorted(files.items()))}, indent=1) + "\n", encoding="utf-8")


def verify_prepared(folder: str | Path, progress: bool = True) -> tuple[int, list[str]]:
    """Verify a prepared folder: checksums of the manifest and of cases, and splits by patient.

    Args:
        folder: what ``prepare_dicom`` wrote.
        progress: show a bar.

    Returns:
        How many cases there are, and what is wrong, one line each; none if all is well.

    Raises:
        DataError: the folder was not prepared, or not to its end.
    """
    folder = Path(folder)
    digests, datalist = _read(folder, MANIFEST)["sha256"], _read(folder, "datalist.json")
    problems = []
    for name, digest in progress_bar(digests.items(), "checking", "file", shown=progress):
        path = folder / name
        if not path.is_file():
            problems.append(f"{name} is missing")
        elif sha256(path) != digest:
            problems.append(f"{name} has changed since it was written")
        elif name.endswith(CASE_SUFFIX):
            problems += [f"{name}: {found}" for found in _wrong_with(path)]
    items = {split: datalist[split] for split in SPLITS}
    problems += _wrong_lists(items, digests)
    known = {name for name in digests if name.startswith(f"{CASES}/")}
    strangers = {f"{CASES}/{path.name}" for path in (folder / CASES).glob(f"*{CASE_SUFFIX}")} - known
    problems += [f"{name} belongs to no patient of the last run" for name in sorted(strangers)]
    return sum(map(len, items.values())), problems


def _read(folder: Path, name: str) -> dict[str, Any]:
    keys = {"sha256"} if name == MANIFEST else set(SPLITS)
    try:
        content: dict[str, Any] = json.loads((folder / name).read_text(encoding="utf-8"))
        if not keys <= set(content):
            raise ValueError(f"{keys - set(content)} is missing")
    except (OSError, ValueError, TypeError) as error:
        reason = f"{name} cannot be read ({type(error).__name__}); the folder was not prepared to its end."
        raise DataError(folder, None, reason, _PREPARE) from error
    return content


def _wrong_with(path: Path) -> list[str]:
    try:
        case = read_case_file(path)
    except DataError as error:
        return [error.reason]
    found = [] if path.name == f"{case.case}{CASE_SUFFIX}" else [f"it holds the case {case.case}"]
    found += [f"{name} is empty" for name, mask in case.masks.items() if name != "dose_region" and not mask.any()]
    return found + _wrong_dose(case)


def _wrong_dose(case: Case) -> list[str]:
    if "dose" not in case.volumes:
        return []
    region = case.masks.get("dose_region")
    if region is None or not region.any():
        return ["it has a dose that is known nowhere"]
    return ["it has dose where the dose is unknown"] if case.volumes["dose"][~region].any() else []


def _wrong_lists(items: Mapping[str, Sequence[Mapping[str, Any]]], digests: Mapping[str, str]) -> list[str]:
    problems = []
    splits: dict[str, set[str]] = {}
    for split, listed in items.items():
        for item in listed:
            splits.setdefault(item["patient"], set()).add(split)
            if item.get("file", item.get("ct", item.get("mr"))) not in digests:
                problems.append(f"the case {item['case']} of {split} is not in the manifest")
    return problems + [f"the patient {name} is in {sorted(found)}" for name, found in splits.items() if len(found) > 1]
