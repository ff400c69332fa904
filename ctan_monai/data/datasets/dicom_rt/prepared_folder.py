"""The output folder of prepared patients: its lock, leftovers of killed runs, its datalist."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ctan_monai.aliases import current_settings
from ctan_monai.data.dicom.read.options import DicomOptions
from ctan_monai.data.dicom.read.table import ACCEPTED, Row, prescriptions
from ctan_monai.data.lists.splits import SPLITS
from ctan_monai.errors import DataError, cannot_write
from ctan_monai.files.atomic import replacing
from ctan_monai.files.lock import hold, release

_logger = logging.getLogger(__name__)
DATALIST = "datalist.json"
_LEFTOVERS = (
    *(f".{name}.*" for name in ("datalist.json", "table.csv", "table.json", "manifest.json")),
    "cases/.pt_*.case",
    "pt_*/.*.nii.gz",
    "pt_*/.case.json.*",
    "pt_*/known/.*.nii.gz",
)


@contextlib.contextmanager
def locked(out_dir: Path) -> Iterator[None]:
    """Lock the folder while preparing; the lock ends with the process."""
    try:
        out_dir.mkdir(parents=True, exist_ok=True)
        taken = DataError(out_dir, None, "another run is preparing this folder.", "Wait, or give another folder.")
        hold(out_dir, taken)
    except OSError as error:
        raise cannot_write(out_dir, error, "the folder cannot be written") from error
    try:
        yield
    finally:
        release(out_dir)


def remove_leftovers(out_dir: Path) -> None:
    """Remove the temporary files of a killed run; see ``atomic.replacing`` for their names."""
    for pattern in _LEFTOVERS:
        for path in out_dir.glob(pattern):
            path.unlink(missing_ok=True)


def kept_splits(path: Path, seed: int, split_fractions: Sequence[float]) -> dict[str, str]:
    """Return the split of each patient of an earlier run, which patients keep when others are added.

    Returns:
        None of them where there was no run, or one with another seed or other split fractions, which the log says.

    Raises:
        DataError: the file of the earlier run is damaged.
    """
    try:
        content = current_settings(json.loads(path.read_text(encoding="utf-8")))
        before = (content["seed"], content["split_fractions"])
        kept = {item["patient"]: split for split in SPLITS for item in content[split]}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"the splits of the patients that were prepared before cannot be read ({error!r})."
        remedy = "Restore it from a copy; or delete it, and patients of the test split may come into training."
        raise DataError(path, None, reason, remedy) from error
    if before != (seed, list(split_fractions)):
        _logger.warning("all patients are split anew: before, seed and fractions were %s and %s", *before)
        return {}
    return kept


def write_datalist(
    path: Path, rows: Sequence[Row], kind: str, options: DicomOptions, seed: int, split_fractions: Sequence[float]
) -> None:
    """Write the datalist of the accepted cases, with paths relative to its folder.

    Raises:
        DataError: it cannot be written.
    """
    accepted = [row for row in rows if row.status == ACCEPTED]
    content: dict[str, Any] = {
        "source": "DICOM",
        "synthetic": any(row.facts.get("synthetic") for row in accepted),
        "format": kind,
        "prescriptions_gy": prescriptions(rows),
        "options": options.to_json(),
        "seed": seed,
        "split_fractions": list(split_fractions),
        **{split: [_item(row, kind) for row in accepted if row.split == split] for split in SPLITS},
    }
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _item(row: Row, kind: str) -> dict[str, Any]:
    item: dict[str, Any] = {"case": row.case, "patient": row.patient}
    if kind == "cache":
        return {**item, "file": next(iter(row.files))}
    names = {name.removeprefix(f"{row.case}/").removesuffix(".nii.gz"): name for name in row.files}
    item |= {name: names.pop(name) for name in ("ct", "mr", "dose", "known/dose") if name in names}
    return {**item, "structures": names}
