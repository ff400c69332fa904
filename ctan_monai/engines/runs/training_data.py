"""The description and fingerprint of the data that a network was trained on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ctan_monai.data.cases.cache import CASE_SUFFIX
from ctan_monai.data.cases.file_read import case_content
from ctan_monai.data.dicom.read.outputs import sha256
from ctan_monai.engines.runs.data_record import read_data_record
from ctan_monai.engines.runs.manifest import run_dirs
from ctan_monai.engines.runs.run_record import MEMBERS, MODEL_FILE

_UNKNOWN = "unknown"  # key of prescriptions_gy
_DIGITS = 12  # of the weights' digest that are shown


@dataclass(frozen=True)
class TrainedOn:
    """Description of the data that a network was trained on.

    Args:
        text: in words.
        prescription_gy: the one prescription of all doses, None if there were several or it is not known.
        synthetic: whether the data were; None if it is not known.
    """

    text: str
    prescription_gy: float | None = None
    synthetic: bool | None = None


def trained_on(run_dir: str | Path | Sequence[str | Path] | None) -> TrainedOn:
    """Read the description of a run's training data.

    Args:
        run_dir: the run's folder, or those of an ensemble; None if there is none.

    Raises:
        CheckpointError: the run's record is there, but cannot be read.
    """
    if run_dir is not None and len(folders := run_dirs(run_dir)) > 1:
        return _together([_trained_on(folder) for folder in folders])
    return _trained_on(None if run_dir is None else run_dirs(run_dir)[0])


def _together(found: Sequence[TrainedOn], used: str = "") -> TrainedOn:
    """Describe what the networks of an ensemble were trained on."""
    doses = {each.prescription_gy for each in found}
    parts = " ".join(f"({number}) {each.text}" for number, each in enumerate(found, 1))
    text = f"Mean answer of an ensemble of {len(found)} networks. {parts}{used}"
    return TrainedOn(text, doses.pop() if len(doses) == 1 else None, any(each.synthetic for each in found))


def _trained_on(run_dir: Path | None) -> TrainedOn:
    record = None if run_dir is None else read_data_record(run_dir)
    weights = None if run_dir is None else _digest(Path(str(run_dir)) / MODEL_FILE)
    return _described(record, f" Weights: SHA-256 {weights}." if weights else "")


def _described(record: Mapping[str, Any] | None, used: str) -> TrainedOn:
    """Describe a record of data, or those of a packed ensemble, and after it that of a run that training began with."""
    if record is not None and (members := record.get(MEMBERS)):
        return _together([_described(member, "") for member in members], used)
    if record is None:
        return TrainedOn(f"It was not recorded what the network was trained on.{used}")
    kind = "SYNTHETIC phantoms, no patients" if record["synthetic"] else "patients"
    cases = record["cases"] if isinstance(record["cases"], Mapping) else {}
    number = f"{cases['train']} " if "train" in cases else ""
    doses, prescription = _doses(record)
    text, synthetic = f"Trained on {number}{kind}{doses}.{used}", bool(record["synthetic"])
    if not (initial := record.get("init_from")):
        return TrainedOn(text, prescription, synthetic)
    before = _described(initial.get("data"), f" Weights: SHA-256 {str(initial.get('model_sha256'))[:_DIGITS]}.")
    text = f"{text} Training began with another run's weights. {before.text}"
    same = before.prescription_gy == prescription
    return TrainedOn(text, prescription if same else None, synthetic or bool(before.synthetic))


def _doses(record: Mapping[str, Any]) -> tuple[str, float | None]:
    """Describe the prescriptions of the training data, '' where no dose was learned, and return the only one."""
    counts: dict[str, int] = dict(record["prescriptions_gy"] or {})
    known = [gy for gy in counts if gy != _UNKNOWN]
    if (scaled := record["normalized_to_gy"]) is not None:
        return f"; every prescription was scaled to {scaled:g} Gy", float(scaled)
    if not known:
        return "; prescriptions not known" if counts else "", None
    if len(counts) == 1:
        return f"; prescription {known[0]} Gy", float(known[0])
    listed = [f"{gy} Gy ({counts[gy]})" for gy in known]
    listed += [f"not known ({counts[_UNKNOWN]})"] if _UNKNOWN in counts else []
    return f"; MIXED prescriptions: {', '.join(listed)}", None


def _digest(path: Path) -> str | None:
    try:
        return sha256(path)[:_DIGITS]
    except OSError:
        return None


def fingerprint(data: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Compute digests of a datalist, which reveal no names.

    Args:
        data: items with ``case``, and ``slice`` where single slices are trained on; their case files (``file``) are
            not read whole, for their headers hold digests of every byte.

    Returns:
        ``items``, their number; ``sha256`` of cases and slices in their order; ``content_sha256`` of what their case
        files hold, wherever they lie and whenever they were written, None where an item has none.

    Raises:
        DataError: a case file cannot be read.

    >>> fingerprint([{"case": "pt_1", "slice": 3}])["items"]
    1
    """
    items = list(data)
    keys = [json.dumps([str(item.get("case")), item.get("slice")]) for item in items]
    files = list(dict.fromkeys(str(item.get("file", "")) for item in items))
    known = bool(files) and all(file.endswith(CASE_SUFFIX) for file in files)
    return {
        "items": len(items),
        "sha256": _sha256(keys),
        "content_sha256": _sha256([case_content(file) for file in files]) if known else None,
    }


def _sha256(lines: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
