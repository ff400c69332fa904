"""Datalists of STOIC's patients, and of CTs for inference."""

from __future__ import annotations

import logging
from collections.abc import Sequence
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
from ctan_monai.data.datasets.stoic.chest_series import SeriesCache, SeriesReader, find_chest_series
from ctan_monai.data.datasets.stoic.reader import StoicReader, find_stoic
from ctan_monai.data.datasets.stoic.synthetic import write_chest_phantoms
from ctan_monai.data.lists.datalist import (
    Item,
    check_splits,
    choose,
    describe_data,
    items_by_split,
    prepare_items,
    split_related,
)
from ctan_monai.data.lists.leakage import Datalists
from ctan_monai.data.lists.splits import SPLITS
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
    folds: int | None = None,
    fold: int = 0,
    datalist: str | Path | None = None,
    add_data: str | Path | None = None,
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
        folds: cross-validation: the test set is one of so many parts, and ``split_fractions`` divide the rest.
        fold: which of them, from 0.
        datalist: JSON file ``{"train": ["8622", ...], "validation": [...], "test": [...]}`` that chooses patients
            instead.
        add_data: an earlier run, whose cases keep their split while others are added, see `kept_cases`.
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
    reader = StoicReader(found.table, image_size, slice_mm)
    cache = ScanCache(Path(cache_dir) / grid_name(reader), reader, READER_VERSION)
    processes = 0 if found.synthetic else workers
    items = prepare_items(cache, found.scans, wanted, workers=processes, on_error=on_error, progress=progress)
    _logger.info("%d CTs of %s, cached in %s", len(items), found.root, cache.cache_dir)
    if wanted is None:
        strata = {patient: found.rows[patient].stratum for patient in items}
        wanted = split_related(list(items.values()), strata, split_fractions, seed, folds, fold, add_data)
    result = items_by_split(found.root, wanted, items, splits, "patient")
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


def stoic_record(dataset_dir: str | Path | None, datalists: Datalists) -> dict[str, Any]:
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
        source: a ``.mha``, ``.nii`` or ``.nii.gz`` file, a folder of such, or a folder with any nesting that holds CT
            series in DICOM. None for a few synthetic CTs.
        cache_dir: folder for the cached cases.
        image_size: rows and columns that the network was trained with.
        slice_mm: distance of slices that it was trained with.
        on_error: 'skip' leaves out CTs that cannot be read, and the log lists them; 'raise' stops.
        workers: processes that read; None for one per processor.

    Returns:
        Items ``{"case", "file"}``; a case is called as `scan.scan_name` says, a DICOM series by a pseudonym, and its
        item has the first image (``dicom``) and all (``images``), for `WriteImageDicom`.

    Raises:
        DataError: there is no CT, two have one name, or one (with 'skip': each) cannot be read.
        ConfigError: a size is none, or ``on_error`` is neither.
    """
    reader = ChestReader(image_size, slice_mm)
    if source is None or str(source) == "":
        named = dict(list(find_stoic(synthetic_chests(cache_dir)).scans.items())[:_SHOWN])
    else:
        root = Path(str(source))
        named = _scans_in(root)
        if not named:
            return _of_series(root, Path(cache_dir), reader, on_error, workers)
    cache = ScanCache(Path(cache_dir) / "scans" / grid_name(reader), reader, f"{READER_VERSION} {grid_name(reader)}")
    items = prepare_items(cache, named, workers=workers, on_error=on_error, skip_fraction=1.0)
    return list(items.values())


def _of_series(
    root: Path, cache_dir: Path, reader: ChestReader, on_error: Literal["raise", "skip"], workers: int | None
) -> list[Item]:
    """List the CT series of a folder, or say that there is no CT of any format."""
    series, why = {}, ""
    try:
        series = find_chest_series(root, cache_dir) if root.is_dir() else {}
    except DataError as error:
        why = f" {error.reason}"
    if not series:
        reason = f"no CT was found; looked for files that end in one of {SCAN_SUFFIXES}, and for CT series in DICOM."
        raise DataError(root, None, f"{reason}{why}", "Check the path.")
    reading = SeriesReader(series, reader.image_size, reader.slice_mm)
    version = f"{READER_VERSION} {grid_name(reader)}"
    cache = SeriesCache(cache_dir / "series" / grid_name(reader), reading, version)
    cached = cache.prepare(list(series), workers=workers, on_error=on_error, skip_fraction=1.0)
    return [
        {"case": series[path].case, "file": str(file), "dicom": str(path), "frame": 0,
         "images": [str(image.path) for image in series[path].images]}
        for path, file in cached.items()
    ]  # fmt: skip


def _scans_in(source: Path) -> dict[str, Path]:
    candidates = [source] if source.is_file() else sorted(source.glob("[!.]*"))
    found = [path for path in candidates if path.name.lower().endswith(SCAN_SUFFIXES) and path.is_file()]
    named = check_names(found)
    for name, path in named.items():
        if not path.name.startswith(f"{name}."):
            _logger.warning("%s is called %s in the results", path, name)
    return named
