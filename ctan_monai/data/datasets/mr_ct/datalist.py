"""Lists of patients with MR and CT to train, validate and test on, and of MR to predict for."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from ctan_monai.data.cases.cache import CaseCache, Header, read_header
from ctan_monai.data.datasets.mr_ct.cache import MrCache, PatientCache
from ctan_monai.data.datasets.mr_ct.dicom import any_dicom, find_mr_studies
from ctan_monai.data.datasets.mr_ct.dicom_reader import DicomMrCache, DicomPairReader
from ctan_monai.data.datasets.mr_ct.layout import find_patients
from ctan_monai.data.datasets.mr_ct.reader import NOTES, REGION, PairReader
from ctan_monai.data.datasets.mr_ct.synthetic import PATIENTS, write_pelvis_pairs
from ctan_monai.data.dicom.read.names import read_mapping
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
_SLICES = ("body", "labeled", "all")
_PIXEL_MM = (0.3, 10.0)
_MR_DICOM = "mr_dicom"
_UNSEEN_SEED = 20_000  # training's synthetic patients are those of seed 0


def mr_ct_datalist(
    dataset_dir: str | Path | None,
    cache_dir: str | Path,
    pixel_mm: float | None = None,
    labels: Sequence[str] = (),
    slices: str | None = None,
    names: str | Path | Mapping[str, Sequence[str]] | None = None,
    mr: str | None = None,
    bias_field: bool = False,
    splits: Sequence[str] = SPLITS,
    split_fractions: Sequence[float] = (0.7, 0.15, 0.15),
    seed: int = 0,
    folds: int | None = None,
    fold: int = 0,
    datalist: str | Path | None = None,
    add_data: str | Path | None = None,
    phantoms: int = PATIENTS,
    workers: int | None = None,
    on_error: Literal["raise", "skip"] = "raise",
    progress: bool = True,
) -> dict[str, list[Item]]:
    """List patients; the first time, read them into the cache.

    Patients with the same MR, under two names, stay in one split.

    Args:
        dataset_dir: folder with a folder for each patient (`layout`); a folder with any nesting that holds DICOM of
            patients, an MR series each, a CT and what was drawn on it; or None for synthetic patients.
        cache_dir: folder for the cached cases, and for the synthetic patients.
        pixel_mm: pixel size within axial slices; None for each MR's own.
        labels: structures that are looked for in slices: 'labeled'.
        slices: None for one item per patient. Otherwise the patients of ``train`` become one item per axial slice:
            'body' for slices in which CT and MR show the body, 'labeled' for those with a voxel of ``labels``, 'all'.
        names: the data's own names of structures: a YAML file, or names by TG-263 name; see ``names.read_mapping``.
        mr: name of the MR's file without ending, where there are several; of DICOM its SeriesDescription or
            SeriesNumber.
        bias_field: take the MR's bias field out by N4.
        splits: what to list.
        split_fractions: of training, validation and test.
        seed: of the split.
        folds: cross-validation: the test set is one of so many parts, and ``split_fractions`` divide the rest.
        fold: which of them, from 0.
        datalist: JSON file ``{"train": [...], "validation": [...], "test": [...]}`` that chooses patients instead.
        add_data: an earlier run, whose cases keep their split while others are added, see `kept_cases`.
        phantoms: how many synthetic patients.
        workers: processes that fill the cache; None for one per processor.
        on_error: 'skip' leaves out up to a tenth of the patients if they cannot be read.
        progress: show a bar while the cache is filled.

    Returns:
        Items ``{"case", "file"}``, of slices with ``slice``, by split.

    Raises:
        DataError: data are missing or cannot be read, a split is empty, a name is unknown.
        ConfigError: an argument has an unknown value.
    """
    check_splits(splits)
    if slices is not None and slices not in _SLICES:
        raise ConfigError("slices", f"{slices!r} is unknown.", f"Use one of {_SLICES}.")
    reader = reader_of(pixel_mm, names, mr, bias_field)
    root = Path(str(dataset_dir)) if dataset_dir else synthetic_patients(cache_dir, phantoms)
    sources, cache = _patients(root, Path(cache_dir), reader)
    wanted = choose(datalist, splits, sources, f"patients of {root}", "Name patients as their folders are called.")
    items = prepare_items(cache, sources, wanted, workers=workers, progress=progress, on_error=on_error)
    headers = {name: read_header(item["file"]) for name, item in items.items()}
    _tell(root, headers)
    if wanted is None:
        wanted = split_related(list(items.values()), None, split_fractions, seed, folds, fold, add_data)
    result = items_by_split(root, wanted, items, splits, "patient")
    if slices is not None and "train" in result:
        result["train"] = [
            {**item, "slice": index}
            for item in result["train"]
            for index in _slices_of(headers[item["case"]], slices, labels)
        ]
    return result


def _patients(root: Path, cache_dir: Path, reader: PairReader) -> tuple[dict[str, Path], CaseCache]:
    """Return patients by name, as NIfTI, or where there is none as DICOM, and the cache that reads them.

    Raises:
        DataError: there is neither.
    """
    try:
        folders = {folder.name: folder for folder in find_patients(root)}
        return folders, PatientCache(cache_dir / "cases", reader)
    except DataError as error:
        cache = _dicom_cache(root, cache_dir, "cases_dicom", reader, error)
        return {study.case: path for path, study in cache.studies.items()}, cache


def _dicom_cache(root: Path, cache_dir: Path, name: str, reader: PairReader, otherwise: DataError) -> DicomMrCache:
    """Return the cache of a folder's DICOM; raise an error where there is none."""
    with_ct = name != _MR_DICOM
    if not any_dicom(root):
        raise otherwise
    studies = find_mr_studies(root, cache_dir, reader.mr, with_ct)
    return DicomMrCache(cache_dir / name, DicomPairReader(root, reader, studies, with_ct))


def reader_of(
    pixel_mm: float | None, names: str | Path | Mapping[str, Sequence[str]] | None, mr: str | None, bias_field: bool
) -> PairReader:
    """Return the reader for a config's options.

    Raises:
        ConfigError: the pixel size is none.
        DataError: the file of names cannot be read.
    """
    low, high = _PIXEL_MM
    if pixel_mm is not None and not (isinstance(pixel_mm, int | float) and low <= pixel_mm <= high):
        remedy = f"Give {low:g} to {high:g} mm, or null for the MR's own."
        raise ConfigError("pixel_mm", f"{pixel_mm!r} was found.", remedy)
    mapping = read_mapping(Path(names).expanduser()) if isinstance(names, str | Path) and str(names) else names
    return PairReader(pixel_mm, mapping if isinstance(mapping, Mapping) else None, mr, bool(bias_field))


def synthetic_patients(cache_dir: str | Path, patients: int = PATIENTS, seed: int = 0) -> Path:
    """Return a folder of synthetic patients, drawn the first time, and say so in the log.

    Raises:
        ConfigError: there are too few for three splits.
        DataError: they cannot be written.
    """
    if not isinstance(patients, int) or patients < 1:
        raise ConfigError("phantoms", f"{patients!r} was found.", "Make at least 3, one for each split.")
    folder = write_pelvis_pairs(Path(cache_dir) / "synthetic", patients, seed)
    _logger.warning(
        "the data are SYNTHETIC: %d phantoms with MR and CT, computed from random numbers, in %s; a network trained on "
        "them says nothing about patients; give --dataset_dir for real ones",
        patients,
        folder,
    )
    return folder


def mr_ct_record(dataset_dir: str | Path | None, datalists: Datalists) -> dict[str, Any]:
    """Return what `write_data_record` writes about a run's data.

    Args:
        dataset_dir: as in the config.
        datalists: items by split.
    """
    return describe_data(dataset_dir, datalists, "synthetic pelves")


def mr_inference_list(
    source: str | Path | None,
    cache_dir: str | Path,
    pixel_mm: float | None = None,
    mr: str | None = None,
    bias_field: bool = False,
    on_error: Literal["raise", "skip"] = "raise",
    workers: int | None = None,
) -> list[Item]:
    """List MR for inference, reading them into the cache; a CT beside one is not looked at.

    Args:
        source: an MR as ``.nii`` or ``.nii.gz``, a patient's folder, or a folder of either; a folder with any nesting
            that holds MR series in DICOM, one for each study. None for a synthetic patient that no training has seen.
        cache_dir: folder for the cached cases.
        pixel_mm: pixel size that the network was trained with.
        mr: name of the MR's file in patients' folders, where there are several; of DICOM its SeriesDescription or
            SeriesNumber.
        bias_field: as in training.
        on_error: 'skip' leaves out MR that cannot be read, and the log lists them; 'raise' stops.
        workers: processes that read; None for one per processor.

    Returns:
        Items ``{"case", "file"}``; a case is called as its patient's folder, or as the file; of DICOM by a pseudonym,
        and the images that it was made of are in ``ct_source.read_source(file)``.

    Raises:
        DataError: there is no MR, two have one name, or one (with 'skip': each) cannot be read.
        ConfigError: a size is none, or ``on_error`` is neither.
    """
    reader = reader_of(pixel_mm, None, mr, bias_field)
    if source is None or str(source) == "":
        source = synthetic_patients(cache_dir, 1, _UNSEEN_SEED)
    root = Path(str(source))
    own = MrCache(Path(cache_dir) / "mr", replace(reader, names=None))
    cache: CaseCache = own
    if not (found := own.find(root)):
        reason = "no MR was found; looked for .nii and .nii.gz files, folders with one called mr, t1 or t2, and DICOM."
        error = DataError(root, None, reason, "Check the path.")
        cache = dicom = _dicom_cache(root, Path(cache_dir), _MR_DICOM, reader, error)
        found = list(dicom.studies)
    named = {cache.name_of(path): path for path in found}
    items = prepare_items(cache, named, workers=workers, on_error=on_error, skip_fraction=1.0)
    _tell(root, {name: read_header(item["file"]) for name, item in items.items()})
    return list(items.values())


def _slices_of(header: Header, slices: str, labels: Sequence[str]) -> list[int]:
    everything = list(range(header.shape[-1]))
    if slices == "all":
        return everything
    body = header.slices_with(REGION)
    if slices == "body":
        return body
    found = sorted({index for label in labels for index in header.slices_with(label)})
    return found or body  # of a patient without any mask


def _tell(root: Path, headers: Mapping[str, Header]) -> None:
    """Say how many patients there are, and what is worth knowing about their files."""
    for name, header in headers.items():
        for note in header.meta.get(NOTES, []):
            _logger.info("%s: %s", name, note)
    synthetic = any(header.meta.get("synthetic") for header in headers.values())
    _logger.info("%d%s patients of %s", len(headers), " SYNTHETIC" if synthetic else "", root)
