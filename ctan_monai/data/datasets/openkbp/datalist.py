"""Datalists of OpenKBP's patients or their slices, and of cases for inference."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from ctan_monai.aliases import takes_old_arguments
from ctan_monai.data.cases.cache import CASE_SUFFIX, CaseCache, Header, read_header
from ctan_monai.data.cases.case import Case
from ctan_monai.data.cases.grid import reorient, resample_in_plane
from ctan_monai.data.datasets.openkbp.reader import READER_VERSION, find_patients, read_case
from ctan_monai.data.formats.ct_source import keep_nifti_source
from ctan_monai.data.formats.nifti import is_nifti, read_nifti_case
from ctan_monai.data.lists.datalist import Item, Slices, check_slices, check_splits, choose, refuse_empty, slices_to_use
from ctan_monai.data.lists.splits import SPLITS, grouped_split_or_fold
from ctan_monai.errors import DataError
from ctan_monai.files.duplicates import check_ids

_logger = logging.getLogger(__name__)

_Chosen = dict[str, list[Path]]
_FOLD_FRACTIONS = (0.9, 0.1, 0.0)  # training and validation, of what a fold does not test
# OpenKBP's axes, and its pixel sizes: 1.95 to 5.42 mm, median 3.906 mm
_AXCODES, _PIXEL_MM, _PIXEL_RANGE_MM = "PLI", 3.906, (1.9, 5.5)


@takes_old_arguments("data.openkbp_datalist")
def openkbp_datalist(
    dataset_dir: str | Path | None,
    sample_dir: str | Path,
    cache_dir: str | Path,
    splits: Sequence[str] = ("train", "validation"),
    slices: Slices | None = None,
    empty_fraction: float = 0.0,
    datalist: str | Path | None = None,
    folds: int | None = None,
    fold: int = 0,
    workers: int | None = None,
    on_error: Literal["raise", "skip"] = "raise",
    progress: bool = True,
) -> dict[str, list[Item]]:
    """List OpenKBP's patients or slices by split, caching them the first time.

    Args:
        dataset_dir: folder of OpenKBP's data, or None for the sample.
        sample_dir: folder of the bundle's sample: ``<split>/pt_N.case``.
        cache_dir: folder for the cached cases of ``dataset_dir``.
        splits: what to list; the others are neither read nor cached.
        slices: None for one item per patient. Otherwise the patients of ``train`` become one item per slice:
            'body' for slices in which the CT has a voxel that is not padding, 'dose' for those in which
            ``dose_region`` has one (without that mask: in which the dose is not 0), 'all' for every slice.
        empty_fraction: slices of the other kind to add, as a share of those chosen, spread evenly over the patient.
        datalist: JSON file ``{"train": ["pt_1", ...], "validation": [...], "test": [...]}`` that chooses patients
            by name from all official splits instead; the same patient may be in two (the log warns).
        folds: cross-validation: the test set is one of so many parts of all patients, whatever their official split
            (the log warns); a tenth of the others validate.
        fold: which of them, from 0.
        workers: processes that fill the cache; None for one per processor.
        on_error: 'skip' leaves out up to a tenth of the patients if they cannot be read.
        progress: show a bar while the cache is filled.

    Returns:
        Items by split.

    Raises:
        DataError: data are missing or cannot be read, a split is empty, a name is unknown.
        ConfigError: an argument has an unknown value.
    """
    check_splits(splits)
    check_slices(slices, empty_fraction)
    sample = dataset_dir is None or str(dataset_dir) == ""
    if sample:
        root = Path(sample_dir)
        available = {split: sorted((root / split).glob(f"[!.]*{CASE_SUFFIX}")) for split in SPLITS}
    else:
        root = Path(str(dataset_dir))
        available = find_patients(root)
    in_folds = available if datalist is not None and str(datalist) else _fold_of(available, folds, fold)
    chosen = _choose(root, in_folds, splits, datalist)
    sources = list(dict.fromkeys(itertools.chain.from_iterable(chosen.values())))
    if sample:
        files = {path: path for path in sources}
        _logger.warning("sample data in use: %d real OpenKBP patients; give --dataset_dir for more", len(sources))
    else:
        cache = CaseCache(cache_dir, read_case, READER_VERSION)
        files = cache.prepare(sources, workers=workers, on_error=on_error, progress=progress)
        _logger.info("%d OpenKBP patients of %s, cached in %s", len(files), root, cache_dir)
    headers = {source: (file, read_header(file)) for source, file in files.items()}
    items = {split: [headers[source] for source in chosen[split] if source in headers] for split in splits}
    remedy = "Add patients to the split, name some in a datalist file, or check --dataset_dir or --bundle_root."
    refuse_empty(root, items, "patient", remedy)
    return {
        split: _slice_items(cases, slices, empty_fraction) if slices and split == "train" else _case_items(cases)
        for split, cases in items.items()
    }


def _choose(
    root: Path, available: Mapping[str, Sequence[Path]], splits: Sequence[str], datalist: str | Path | None
) -> _Chosen:
    check_ids({path: path.name.removesuffix(CASE_SUFFIX) for paths in available.values() for path in paths})
    by_name = {path.name.removesuffix(CASE_SUFFIX): path for paths in available.values() for path in paths}
    names = choose(datalist, splits, by_name, f"patients of {root}", f"Choose from {sorted(by_name)[:20]} ...")
    if names is None:
        return {split: list(available[split]) for split in splits}
    for first, second in itertools.combinations(splits, 2):
        shared = sorted(set(names[first]) & set(names[second]))
        if shared:
            _logger.warning("same patients in %s and %s: %s; scores say nothing about new ones", first, second, shared)
    return {split: [by_name[name] for name in found] for split, found in names.items()}


def _fold_of(available: Mapping[str, Sequence[Path]], folds: int | None, fold: int) -> Mapping[str, Sequence[Path]]:
    """Divide the patients of all splits for one fold of a cross-validation; without folds they stay where they are."""
    if folds is None and not fold:
        return available
    paths = {path.name.removesuffix(CASE_SUFFIX): path for found in available.values() for path in found}
    divided = grouped_split_or_fold({name: name for name in paths}, None, _FOLD_FRACTIONS, 0, folds, fold)
    _logger.warning("%s folds of all %d patients: the official splits are left aside", folds, len(paths))
    return {split: [paths[name] for name in names] for split, names in divided.items()}


def _case_items(cases: Sequence[tuple[Path, Header]]) -> list[Item]:
    return [{"case": header.case, "file": str(file)} for file, header in cases]


def _slice_items(cases: Sequence[tuple[Path, Header]], slices: Slices, empty_fraction: float) -> list[Item]:
    return [
        {"case": header.case, "file": str(file), "slice": index}
        for file, header in cases
        for index in slices_to_use(header, slices, empty_fraction)
    ]


def openkbp_inference_list(source: str | Path, cache_dir: str | Path) -> list[Item]:
    """List cases for inference with a network trained on OpenKBP, caching them.

    Args:
        source: an OpenKBP patient's folder, a NIfTI file of a CT, a ``.case`` file, or a folder of any of these.
            A NIfTI CT is reoriented to OpenKBP's axes and, if its pixels are not of a size that occurs in OpenKBP,
            resampled to 3.906 mm in the plane; `ct_source.read_source` says what its own grid was.
        cache_dir: folder for the cached cases.

    Returns:
        Items ``{"case", "file"}``.

    Raises:
        DataError: there is nothing of the kind, or a case cannot be read.
    """
    root = Path(str(source))
    found = [root] if _is_case(root) else sorted(path for path in root.glob("*") if _is_case(path))
    if not found:
        reason = (
            "no case was found; looked for an OpenKBP patient's folder (with ct.csv), a CT as .nii or .nii.gz, a "
            f"{CASE_SUFFIX} file, or a folder that holds some."
        )
        raise DataError(root, None, reason, "Check the path.")
    ready = {path: path for path in found if path.name.endswith(CASE_SUFFIX)}
    cache = CaseCache(cache_dir, read_any, f"{READER_VERSION} {_AXCODES} {_PIXEL_MM}")
    files = {**ready, **cache.prepare([path for path in found if path not in ready])}
    for path in files:
        if is_nifti(path):
            keep_nifti_source(path, cache.name_of(path), files[path], cache.fingerprint(path))
    cases = {path: read_header(files[path]).case for path in found}
    check_ids(cases)
    return [{"case": cases[path], "file": str(files[path])} for path in found]


def read_any(source: Path) -> Case:
    """Read an OpenKBP patient, or a CT from NIfTI on a grid like OpenKBP's.

    Raises:
        DataError: it cannot be read.
    """
    if source.is_dir():
        return read_case(source)
    case = reorient(read_nifti_case(source), _AXCODES)
    low, high = _PIXEL_RANGE_MM
    if all(low <= spacing <= high for spacing in case.spacing_mm[:2]):
        return case
    _logger.info("%s: pixels of %.2f x %.2f mm resampled to %.3f mm", source, *case.spacing_mm[:2], _PIXEL_MM)
    return resample_in_plane(case, _PIXEL_MM)


def _is_case(path: Path) -> bool:
    if path.is_dir():
        return (path / "ct.csv").is_file()
    return path.is_file() and (is_nifti(path) or path.name.endswith(CASE_SUFFIX))
