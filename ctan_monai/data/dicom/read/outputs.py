"""Write prepared cases as cache files or NIfTI, and find existing ones."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from ctan_monai.data.cases.cache import CASE_SUFFIX, Header, check_case_file, write_case
from ctan_monai.data.cases.case import Case
from ctan_monai.data.formats.nifti import write_nifti
from ctan_monai.errors import DataError
from ctan_monai.files.atomic import replace_text

Format = Literal["cache", "nifti"]

CASES = "cases"
RECORD = "case.json"
_CHUNK = 2**20


def sha256(path: Path) -> str:
    """Compute the SHA-256 of a file, as hex."""
    state = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            state.update(chunk)
    return state.hexdigest()


def write(case: Case, folder: Path, kind: Format, fingerprint: str) -> dict[str, Any]:
    """Write a case.

    Args:
        case: what to write.
        folder: the prepared folder.
        kind: 'cache' for ``cases/<case>.case``; 'nifti' for ``<case>/ct.nii.gz``, ``dose.nii.gz`` (Gy),
            ``<structure>.nii.gz`` (0/1), ``known/dose.nii.gz`` (1 where the dose is known) and ``case.json``.
        fingerprint: of what it was made from.

    Returns:
        What ``existing`` finds.

    Raises:
        DataError: the folder cannot be written.
    """
    if kind == "cache":
        path = folder / CASES / f"{case.case}{CASE_SUFFIX}"
        write_case(path, case, fingerprint)
        return _record(case, case.spacing_mm, {path.relative_to(folder).as_posix(): sha256(path)})
    record = _write_nifti(case, folder)
    content = json.dumps({**record, "fingerprint": fingerprint}, indent=1) + "\n"
    replace_text(folder / case.case / RECORD, content)  # last: without it the case is not there
    return record


def _write_nifti(case: Case, folder: Path) -> dict[str, Any]:
    place = folder / case.case
    (place / RECORD).unlink(missing_ok=True)
    arrays = {
        f"{name}.nii.gz": array for name, array in {**case.volumes, **case.masks}.items() if name != "dose_region"
    }
    if "dose" in case.volumes:
        arrays["known/dose.nii.gz"] = case.masks["dose_region"]
    for path in place.rglob("*.nii.gz"):  # of an earlier run, with a structure that is called otherwise now
        if path.relative_to(place).as_posix() not in arrays:
            path.unlink()
    for name, array in arrays.items():
        write_nifti(array, case.affine_ras, place / name)
    return _record(case, case.spacing_mm, {f"{case.case}/{name}": sha256(place / name) for name in arrays})


def _record(case: Case | Header, spacing_mm: Iterable[float], files: Mapping[str, str]) -> dict[str, Any]:
    return {
        "case": case.case,
        "shape": list(case.shape),
        "spacing_mm": [round(mm, 6) for mm in spacing_mm],
        "meta": dict(case.meta),
        "files": dict(files),
    }


def existing(case: str, folder: Path, kind: Format, fingerprint: str) -> dict[str, Any] | None:
    """Return the record of an existing case that is complete and up to date, else None."""
    try:
        return (_existing_cache if kind == "cache" else _existing_nifti)(case, folder, fingerprint)
    except (DataError, OSError, ValueError, KeyError, AttributeError):
        return None


def _existing_cache(case: str, folder: Path, fingerprint: str) -> dict[str, Any] | None:
    path = folder / CASES / f"{case}{CASE_SUFFIX}"
    if not path.exists():
        return None
    header = check_case_file(path)
    if header.fingerprint != fingerprint:
        return None
    spacing = [sum(row[axis] ** 2 for row in header.affine_ras[:3]) ** 0.5 for axis in range(3)]
    return _record(header, spacing, {path.relative_to(folder).as_posix(): sha256(path)})


def _existing_nifti(case: str, folder: Path, fingerprint: str) -> dict[str, Any] | None:
    path = folder / case / RECORD
    if not path.exists():
        return None
    record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    whole = all(sha256(folder / name) == digest for name, digest in record["files"].items())
    return record if record.pop("fingerprint") == fingerprint and whole else None
