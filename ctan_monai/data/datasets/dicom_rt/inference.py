"""Datalists of planning CTs and MRs for inference."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ctan_monai.data.cases.cache import processors
from ctan_monai.data.datasets.dicom_rt.prepare import KEY
from ctan_monai.data.datasets.dicom_rt.prescriptions import read_prescriptions, table_path
from ctan_monai.data.dicom.read.ct_case import CtJob, CtOutcome, make_ct_case, make_nifti_case
from ctan_monai.data.dicom.read.header import kind_of, read_header
from ctan_monai.data.dicom.read.job import work
from ctan_monai.data.dicom.read.link import Linked, link
from ctan_monai.data.dicom.read.names import read_mapping
from ctan_monai.data.dicom.read.options import DicomOptions
from ctan_monai.data.dicom.read.pseudonyms import Pseudonyms, read_or_make_key
from ctan_monai.data.dicom.read.reading import in_modality, of_modality
from ctan_monai.data.dicom.read.scan import Scan, scan
from ctan_monai.data.formats.nifti import is_nifti
from ctan_monai.data.lists.datalist import Item
from ctan_monai.data.phantom.cohort import make_cohort
from ctan_monai.data.phantom.grid import PhantomGrid
from ctan_monai.errors import DataError
from ctan_monai.files.atomic import replacing
from ctan_monai.files.duplicates import check_ids

_logger = logging.getLogger(__name__)
_USED = ("body_margin_mm", "modality", "series")  # of the options of training
_SKIPPED = "skipped.json"
_UNSEEN_SEED = 20_000  # training's synthetic patients are those of seed 0
_WORKERS_MAX = 4  # each holds a CT


def dicom_inference_list(
    source: str | Path | None,
    cache_dir: str | Path,
    pixel_mm: float | None = 3.0,
    axcodes: str | None = "PLS",
    repair: bool = False,
    patient_by: str = "id",
    contours: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
    phantom_grid: PhantomGrid | None = None,
    workers: int | None = None,
    progress: bool = True,
) -> list[Item]:
    """List CTs for inference, caching them under pseudonyms.

    Of structure sets and doses in the folder only how far they reach is looked at, and a CT that ends before them
    is refused, unless the network takes contours; other modalities are passed over. A CT series that cannot be used
    is named in the log by its pseudonym, with the reason, and left out; ``skipped.json`` in the cache says which
    files it consists of, and which is at fault. The cache names files and UIDs of the CTs, so it must not be given
    away.

    Args:
        source: a folder with any nesting that holds one CT series, a patient or many patients; a file of a CT series,
            for the images of that series in the file's folder; a CT as NIfTI, or a folder of such. None or '' for a
            synthetic patient that no training has seen.
        cache_dir: folder for the cached cases.
        pixel_mm: pixel size within the slices that the network was trained with; None for the CT's own.
        axcodes: where the axes pointed in training.
        repair: put right what can be put right without guessing; see ``series.read_ct_series``.
        patient_by: 'id' or 'study'; see ``link.link``.
        contours: for a network that takes contours and prescription beside the CT, options of ``DicomOptions`` to read
            them by, names also as a YAML file's path, the prescription also as a table's (`read_prescriptions`), whom
            it lacks has that of the RTPLAN; a CT without a structure set is left out. None: the CT alone.
        options: of ``DicomOptions``, as in training, of which ``body_margin_mm``, ``modality`` and ``series`` are used;
            with MR, what is said of the CT here holds for the MR.
        phantom_grid: voxels of the synthetic patient's CT.
        workers: processes that read; None for one per processor, at most 4.
        progress: show bars.

    Returns:
        Items ``{"case", "file"}``; the CT that a case was made of is in ``ct_source.read_source(file)``.

    Raises:
        DataError: there is no CT, none of them can be used, or the cache cannot be written.
        ConfigError: an argument has an unknown value.
    """
    cache_dir = Path(cache_dir)
    used = {name: value for name, value in (options or {}).items() if name in _USED}
    wanted = DicomOptions(need=(), repair=repair, pixel_mm=pixel_mm, axcodes=axcodes, **used)
    size, margin = ("" if mm is None else f"{mm:g}mm" for mm in (pixel_mm, wanted.body_margin_mm))
    kind = "" if wanted.modality == "CT" else f"_{wanted.modality.lower()}"
    folder = cache_dir / f"inference_{size or 'own'}{margin and f'_body{margin}'}{kind}"
    table = table_path(contours["prescription_gy"]) if contours and "prescription_gy" in contours else None
    if drawn := contours is not None:
        wanted = replace(wanted, **{**_readable(contours, table is None), "need": ("structures",)})
        folder = folder.with_name(f"{folder.name}_contours")
    if source is None or str(source) == "":
        root = _synthetic_patient(cache_dir, phantom_grid or PhantomGrid(modality=wanted.modality), progress)
    else:
        root = Path(str(source))
    if nifti := _nifti_files(root):
        if drawn:
            reason = "the network takes contours and prescription beside the CT, which NIfTI files do not have."
            remedy = f"Give a folder with {wanted.modality}, RTSTRUCT and RTPLAN."
            raise DataError(root, None, in_modality(reason, wanted.modality), remedy)
        items = {path: _item(make_nifti_case(path, folder, wanted)) for path in nifti}
        check_ids({path: item["case"] for path, item in items.items()})
        return list(items.values())
    count = processors(_WORKERS_MAX) if workers is None else max(1, workers)
    names = Pseudonyms(read_or_make_key(cache_dir / KEY))
    with of_modality(wanted.modality):
        found, series = _series(root, patient_by, count, progress, wanted)
    place = root.parent if root.is_file() else root
    doses = read_prescriptions(table).of(series, place, required=False) if table else [None] * len(series)
    each_own = [wanted if gy is None else replace(wanted, prescription_gy=gy) for gy in doses]
    jobs = [
        _job(linked, names, own, folder, _damaged(linked, series, found), drawn)
        for linked, own in zip(series, each_own, strict=True)
    ]
    results = list(work(make_ct_case, jobs, min(count, len(jobs)), folder))
    with of_modality(wanted.modality):
        return _accepted(root, folder, jobs, results)


def _synthetic_patient(cache_dir: Path, grid: PhantomGrid, progress: bool) -> Path:
    other = "" if grid.region == "pelvis" else f"{grid.region}_"
    other += "" if grid.modality == "CT" else f"{grid.modality.lower()}_"
    folder = cache_dir / f"synthetic_unseen_{other}{grid.rows}x{grid.columns}x{grid.slices}"
    _logger.warning("no input was given: a SYNTHETIC patient is used, computed from random numbers, in %s", folder)
    cohort = make_cohort(folder, 1, _UNSEEN_SEED, grid=grid, progress=progress)
    return cohort.folder


def _nifti_files(root: Path) -> list[Path]:
    """Return the NIfTI files of a source: the file, or those of a folder that holds no other files."""
    if root.is_file():
        return [root] if is_nifti(root) else []
    inside = [path for path in sorted(root.glob("*")) if not path.name.startswith(".")] if root.is_dir() else []
    return inside if all(path.is_file() and is_nifti(path) for path in inside) else []


def _series(
    root: Path, patient_by: str, workers: int, progress: bool, options: DicomOptions
) -> tuple[Scan, list[Linked]]:
    """Scan a folder, or that of a file, and return its content and CT series.

    Raises:
        DataError: there is none.
    """
    kind = kind_of(options.modality)
    wanted = _series_of_file(root, kind) if root.is_file() else None
    found = scan(root.parent if root.is_file() else root, workers, progress)
    linked, unlinked = link(found.objects, patient_by, modality=options.modality, series=options.series)
    unusable = [f"{lone.reason} {lone.remedy}" for lone in unlinked if lone.header.kind in (kind, "enhanced ct")]
    linked = [each for each in linked if wanted in (None, each.ct[0].series_uid)]
    if not linked:
        listed = ", ".join(f"{count} {kind}" for kind, count in found.counts().items())
        named = f" called {options.series}" if options.series else ""
        reason = f"there is no CT series{named}; found {listed}. {' '.join(dict.fromkeys(unusable))}".rstrip()
        raise DataError(root, None, reason, "Give a folder with a planning CT.")
    for reason in unusable:
        _logger.warning("left out: %s", reason)
    if found.unreadable:
        _logger.warning(
            "%d files look like DICOM and could not be read: a series may lack slices", len(found.unreadable)
        )
    return found, linked


def _damaged(linked: Linked, series: Sequence[Linked], found: Scan) -> tuple[Path, ...]:
    """Return the unreadable files in folders that hold no other CT than this one."""
    others = {image.path.parent for each in series if each is not linked for image in each.ct}
    return tuple(path for path in found.damaged_beside(linked.ct) if path.parent not in others)


def _series_of_file(path: Path, kind: str) -> str:
    try:
        header = read_header(path)
    except (OSError, ValueError) as error:
        raise DataError(path, None, f"it cannot be read ({error}).", "Give a file of a CT series.") from error
    if header is None or header.kind != kind:
        found = "no DICOM or NIfTI" if header is None else f"DICOM of the kind {header.kind}"
        raise DataError(path, None, f"it is {found}.", "Give a file of a CT series, a CT as NIfTI, or a folder.")
    return header.series_uid


def _readable(contours: Mapping[str, Any], prescribed: bool) -> dict[str, Any]:
    """Return options of reading contours with the file of names read; without the prescription where a table has it."""
    names = contours.get("names")
    found = {**contours, "names": read_mapping(Path(names).expanduser()) if isinstance(names, str) else names or {}}
    return found if prescribed else {**found, "prescription_gy": None}


def _job(
    linked: Linked, names: Pseudonyms, options: DicomOptions, folder: Path, damaged: tuple[Path, ...], drawn: bool
) -> CtJob:
    case = names.case(names.patient(linked.identity), linked.ct[0].series_uid)
    return CtJob(linked.ct, case, options, folder, tuple(linked.others()), damaged, linked if drawn else None)


def _accepted(root: Path, folder: Path, jobs: Sequence[CtJob], results: Sequence[CtOutcome]) -> list[Item]:
    """Return the items of usable cases, and log the others."""
    reasons = {each.case: each.reason for each in results if each.reason}
    faults = {each.case: each.path for each in results if each.path}
    skipped: list[dict[str, Any]] = []
    for job in jobs:
        if job.case in reasons:
            kind, count = job.options.modality, len(job.images)
            _logger.warning("%s, a %s of %d images, is left out: %s", job.case, kind, count, reasons[job.case])
            files = [str(image.path.resolve()) for image in job.images]
            fault = str(faults[job.case].resolve()) if job.case in faults else None
            skipped.append({"case": job.case, "reason": reasons[job.case], "at_fault": fault, "files": files})
    with replacing(folder / _SKIPPED) as temporary:
        temporary.write_text(json.dumps(skipped, indent=1) + "\n", encoding="utf-8")
    (folder / _SKIPPED).chmod(0o600)
    used = [job for job in jobs if job.case not in reasons]
    if not used:
        listed = "; ".join(sorted(set(reasons.values())))
        reason = f"none of its {len(jobs)} CT series can be used: {listed}"
        first = next(iter(faults.values()), root)
        raise DataError(first, None, reason, f"{folder / _SKIPPED} names the files.")
    if any(image.synthetic for job in used for image in job.images):
        _logger.warning("the data are SYNTHETIC: no patient was imaged")
    _logger.info("%d series to predict, %d left out", len(used), len(skipped))
    return [_item(job.file) for job in sorted(used, key=lambda job: job.case)]


def _item(file: Path) -> Item:
    from ctan_monai.data.cases.cache import read_header as read_case_header

    return {"case": read_case_header(file).case, "file": str(file)}
