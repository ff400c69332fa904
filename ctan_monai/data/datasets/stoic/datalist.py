"""Datalists of STOIC's patients, and of CTs for inference."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from ctan_monai.aliases import takes_old_arguments
from ctan_monai.data.cases.cache import Header, read_header
from ctan_monai.data.datasets.stoic.chest_case import (
    LUNGS,
    READER_VERSION,
    ChestReader,
    ScanCache,
    check_names,
    grid_name,
)
from ctan_monai.data.datasets.stoic.chest_scan import SCAN_SUFFIXES
from ctan_monai.data.datasets.stoic.reader import Stoic, StoicReader, find_stoic
from ctan_monai.data.datasets.stoic.synthetic import write_chest_phantoms
from ctan_monai.data.lists.datalist import Item, check_splits, choose, describe_data, refuse_empty
from ctan_monai.data.lists.leakage import group_related, read_fingerprints
from ctan_monai.data.lists.splits import SPLITS, grouped_split
from ctan_monai.errors import ConfigError, DataError

_logger = logging.getLogger(__name__)
_SHOWN = 4  # synthetic CTs that stand for a user's


@takes_old_arguments("data.stoic_datalist")
def stoic_datalist(
    dataset_dir: str | Path | None,
    cache_dir: str | Path,
    image_size: Sequence[int],
    slice_mm: float | None = 3.0,
    slices: int | None = None,
    splits: Sequence[str] = SPLITS,
    split_fractions: Sequence[float] = (0.7, 0.1, 0.2),
    seed: int = 0,
    datalist: str | Path | None = None,
    workers: int | None = None,
    on_error: Literal["raise", "skip"] = "raise",
    progress: bool = True,
) -> dict[str, list[Item]]:
    """List STOIC's patients by split, caching them the first time.

    Patients stay in one split, also if their CT is there twice under two names; negatives, positives and severe ones
    are spread evenly.

    Args:
        dataset_dir: folder of the data set, or None for synthetic CTs, which are made on the spot.
        cache_dir: folder for the cached cases, and for the synthetic CTs.
        image_size: rows and columns of the slices.
        slice_mm: distance of slices; None keeps those of the CT.
        slices: None for one item per patient. Otherwise the patients of ``train`` become that many items each, with
            ``slices``: the first and last + 1 of a part of the lungs from which `RandSelectSliced` draws one.
        splits: what to list.
        split_fractions: of training, validation and test.
        seed: of the split.
        datalist: JSON file ``{"train": ["8622", ...], "validation": [...], "test": [...]}`` that chooses patients
            instead.
        workers: processes that fill the cache, each with up to 1.5 GB; None for one per processor.
        on_error: 'skip' leaves out up to a tenth of the CTs if they cannot be read.
        progress: show a bar while the cache is filled.

    Returns:
        Items ``{"case", "file"}``, of slices with ``slices``, by split.

    Raises:
        DataError: data are missing or cannot be read, a split is empty, a name is unknown.
        ConfigError: an argument has an unknown value.
    """
    check_splits(splits)
    if slices is not None and (not isinstance(slices, int) or slices < 1):
        raise ConfigError("slices", f"{slices!r} was found.", "Give a number of slices per patient, for example 8.")
    found = find_stoic(dataset_dir if dataset_dir else synthetic_chests(cache_dir))
    remedy = "Name patients as in the column PatientID."
    wanted = choose(datalist, splits, found.scans, f"patients of {found.root}", remedy)
    listed = list(dict.fromkeys(found.scans if wanted is None else itertools.chain.from_iterable(wanted.values())))
    reader = StoicReader(found.table, image_size, slice_mm)
    cache = ScanCache(Path(cache_dir) / grid_name(reader), reader, READER_VERSION)
    files = cache.prepare(
        [found.scans[patient] for patient in listed],
        workers=0 if found.synthetic else workers,
        on_error=on_error,
        progress=progress,
    )
    names = {path: patient for patient, path in found.scans.items()}
    items = {names[source]: {"case": names[source], "file": str(file)} for source, file in files.items()}
    _logger.info("%d CTs of %s, cached in %s", len(items), found.root, cache.cache_dir)
    divided = _divide(found, list(items.values()), split_fractions, seed) if wanted is None else wanted
    result = {split: [items[patient] for patient in divided[split] if patient in items] for split in splits}
    remedy = "Give more patients, other split fractions, or a datalist file that names some for each split."
    refuse_empty(found.root, result, "patient", remedy)
    if slices is not None and "train" in result:
        result["train"] = [part for item in result["train"] for part in _parts(item, slices)]
    return result


def synthetic_chests(cache_dir: str | Path) -> Path:
    """Return a folder of synthetic CTs in STOIC's layout, creating it the first time with a note in the log."""
    folder = Path(cache_dir) / "synthetic"
    _logger.warning(
        "SYNTHETIC CTs in use (%s*, drawn the first time): they show no patients, and a network trained on them says "
        "nothing about COVID-19; give --dataset_dir for STOIC",
        folder,
    )
    return write_chest_phantoms(folder)


def stoic_record(
    dataset_dir: str | Path | None, datalists: Mapping[str, Sequence[Mapping[str, Any]]]
) -> dict[str, Any]:
    """Return the data record of a run, for `write_data_record`.

    Args:
        dataset_dir: as in the config.
        datalists: items by split.
    """
    return describe_data(dataset_dir, datalists, "synthetic chests")


def lung_slices(header: Header) -> list[int]:
    """Return the slices that show lungs, all of them where lungs were not found."""
    return header.slices_with(LUNGS) or list(range(header.shape[-1]))


def _parts(item: Item, count: int) -> list[Item]:
    """Divide a patient's lungs into parts along the body, each of at least one slice."""
    lungs = lung_slices(read_header(item["file"]))
    parts = []
    for number in range(count):
        start = number * len(lungs) // count
        stop = max((number + 1) * len(lungs) // count, start + 1)
        parts.append({**item, "slices": [lungs[start], lungs[stop - 1] + 1]})
    return parts


def _divide(found: Stoic, items: Sequence[Item], split_fractions: Sequence[float], seed: int) -> dict[str, list[str]]:
    strata = {item["case"]: found.rows[item["case"]].stratum for item in items}
    return grouped_split(group_related(read_fingerprints(items)), strata, split_fractions, seed)


def chest_inference_list(
    source: str | Path | None,
    cache_dir: str | Path,
    image_size: Sequence[int],
    slice_mm: float | None = 3.0,
    on_error: Literal["raise", "skip"] = "raise",
    workers: int | None = None,
) -> list[Item]:
    """List CTs for inference, caching them.

    Args:
        source: a ``.mha``, ``.nii`` or ``.nii.gz`` file or a folder of such. None for a few synthetic CTs.
        cache_dir: folder for the cached cases.
        image_size: rows and columns that the network was trained with.
        slice_mm: distance of slices that it was trained with.
        on_error: 'skip' leaves out CTs that cannot be read, and the log lists them; 'raise' stops.
        workers: processes that read; None for one per processor.

    Returns:
        Items ``{"case", "file"}``; a case is called as `scan.scan_name` says.

    Raises:
        DataError: there is no CT, two have one name, or one (with 'skip': each) cannot be read.
        ConfigError: a size is none, or ``on_error`` is neither.
    """
    reader = ChestReader(image_size, slice_mm)
    if source is None or str(source) == "":
        named = dict(list(find_stoic(synthetic_chests(cache_dir)).scans.items())[:_SHOWN])
    else:
        named = _scans_in(Path(str(source)))
    cache = ScanCache(Path(cache_dir) / "scans" / grid_name(reader), reader, f"{READER_VERSION} {grid_name(reader)}")
    names = {path: name for name, path in named.items()}
    cached = cache.prepare(list(names), workers=workers, on_error=on_error, skip_fraction=1.0)
    return [{"case": names[path], "file": str(file)} for path, file in cached.items()]


def _scans_in(source: Path) -> dict[str, Path]:
    candidates = [source] if source.is_file() else sorted(source.glob("[!.]*"))
    found = [path for path in candidates if path.name.lower().endswith(SCAN_SUFFIXES) and path.is_file()]
    if not found:
        reason = f"no CT was found; looked for a file, or files in a folder, that end in one of {SCAN_SUFFIXES}."
        raise DataError(source, None, reason, "Check the path.")
    named = check_names(found)
    for name, path in named.items():
        if not path.name.startswith(f"{name}."):
            _logger.warning("%s is called %s in the results", path, name)
    return named
