"""Datalists of prepared patients, as a bundle's config asks for them."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ctan_monai.aliases import current_settings, takes_old_arguments
from ctan_monai.data.cases.cache import Header, read_header
from ctan_monai.data.datasets.dicom_rt.prepare import prepare_dicom
from ctan_monai.data.datasets.dicom_rt.prepared_folder import DATALIST
from ctan_monai.data.dicom.read.options import DicomOptions
from ctan_monai.data.lists.datalist import Item, Slices, check_slices, check_splits, refuse_empty, slices_to_use
from ctan_monai.data.lists.splits import SPLITS, grouped_split_or_fold
from ctan_monai.errors import DataError

_logger = logging.getLogger(__name__)


@takes_old_arguments("data.dicom_datalist")
def dicom_datalist(
    dataset_dir: str | Path,
    cache_dir: str | Path,
    splits: Sequence[str] = ("train", "validation"),
    slices: Slices | None = None,
    empty_fraction: float = 0.0,
    options: Mapping[str, Any] | None = None,
    seed: int = 0,
    split_fractions: Sequence[float] = (0.7, 0.15, 0.15),
    folds: int | None = None,
    fold: int = 0,
    workers: int | None = None,
    progress: bool = True,
) -> dict[str, list[Item]]:
    """List the cases of a prepared folder by split; prepare a folder of DICOM first.

    Args:
        dataset_dir: what ``prepare_dicom`` wrote, recognized by its ``datalist.json``, or a folder of DICOM.
        cache_dir: where to prepare the latter to; what is there already is used again.
        splits: what to list.
        slices: None for one item per case; else the cases of ``train`` become one item per slice, see
            ``data.datalist.openkbp_datalist``.
        empty_fraction: slices of the other kind to add, see there.
        options: of ``DicomOptions``, for a folder of DICOM.
        seed: of the split, likewise.
        split_fractions: of training, validation and test, likewise.
        folds: cross-validation by patient: the test set is one of so many parts of all splits together, drawn by
            ``seed``, and ``split_fractions`` divide the rest.
        fold: which of them, from 0.
        workers: processes that prepare.
        progress: show bars.

    Returns:
        Items by split: ``{"case", "file"}``, and ``"slice"``.

    Raises:
        DataError: there are no such data, they cannot be read, or a split is empty.
        ConfigError: an argument has an unknown value.
    """
    check_splits(splits)
    check_slices(slices, empty_fraction)
    folder = Path(dataset_dir)
    if not (folder / DATALIST).is_file():
        given = DicomOptions(**(options or {}))
        folder = prepare_dicom(
            folder, cache_dir, given, workers=workers, seed=seed, split_fractions=split_fractions, progress=progress
        ).datalist.parent
    content = read_datalist(folder)
    if content["synthetic"]:
        _logger.warning("the data are SYNTHETIC: no patient was imaged")
    if len(content["prescriptions_gy"]) > 1:
        _logger.warning("mixed prescriptions, cases by Gy: %s", content["prescriptions_gy"])
    content |= _fold_of(content, split_fractions, seed, folds, fold)
    found = {split: [folder / item["file"] for item in content[split]] for split in splits}
    remedy = "Add patients (three fill every split), or prepare them with other split fractions."
    refuse_empty(folder, {split: content[split] for split in SPLITS}, "patient", remedy, required=splits)
    return {name: _items(files, slices if name == "train" else None, empty_fraction) for name, files in found.items()}


def _fold_of(
    content: Mapping[str, Any], split_fractions: Sequence[float], seed: int, folds: int | None, fold: int
) -> dict[str, list[Item]]:
    """Divide all patients anew for one fold of a cross-validation; nothing without folds."""
    if folds is None and not fold:
        return {}
    items = {item["case"]: item for split in SPLITS for item in content[split]}
    patients = {case: str(item["patient"]) for case, item in items.items()}
    divided = grouped_split_or_fold(patients, None, split_fractions, seed, folds, fold)
    return {split: [items[case] for case in cases] for split, cases in divided.items()}


def read_datalist(folder: str | Path) -> dict[str, Any]:
    """Read the datalist that ``prepare_dicom`` wrote: items by split, prescriptions_gy, synthetic, options.

    Raises:
        DataError: it cannot be read, or is of NIfTI files.
    """
    path = Path(folder) / DATALIST
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        usable = content["format"] == "cache" and all(isinstance(content[split], list) for split in SPLITS)
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = f"the list of cases cannot be read ({type(error).__name__})."
        raise DataError(path, None, reason, "Prepare the data again.") from error
    if not usable:
        raise DataError(path, None, "it does not list cached cases.", "Prepare the data with --format cache.")
    return {**content, "options": current_settings(content.get("options", {}))}


def data_record(
    folder: str | Path,
    split_fractions: Sequence[float] = (0.7, 0.15, 0.15),
    seed: int = 0,
    folds: int | None = None,
    fold: int = 0,
    dose: bool = True,
) -> dict[str, Any]:
    """Return the data record of a prepared folder, for ``engines.write_data_record``.

    Args:
        folder: that was prepared.
        split_fractions: see `dicom_datalist`, as the next.
        seed: of the split.
        folds: of a cross-validation.
        fold: which of them.
        dose: the doses are learned.

    Raises:
        DataError: the folder's list of cases cannot be read.
    """
    content = read_datalist(folder)
    content |= _fold_of(content, split_fractions, seed, folds, fold)
    doses = {
        "prescriptions_gy": content["prescriptions_gy"],
        "normalized_to_gy": content["options"]["normalize_to_gy"],
    }
    return {
        "source": content["source"],
        "synthetic": content["synthetic"],
        **(doses if dose else {}),
        "cases": {split: len(content[split]) for split in SPLITS},
    }


def _items(files: Sequence[Path], slices: Slices | None, empty_fraction: float) -> list[Item]:
    items: list[Item] = []
    for file in files:
        header: Header = read_header(file)
        item = {"case": header.case, "file": str(file)}
        chosen = slices_to_use(header, slices, empty_fraction) if slices else None
        items += [item] if chosen is None else [{**item, "slice": index} for index in chosen]
    return items
