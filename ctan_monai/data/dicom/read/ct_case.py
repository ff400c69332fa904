"""Create cases of CTs alone, for inference, with a description of their source."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ctan_monai.data.cases.body import crop_to_body
from ctan_monai.data.cases.cache import CASE_SUFFIX, CaseCache, check_case_file, write_case
from ctan_monai.data.cases.case import Case
from ctan_monai.data.cases.grid import reorient, resample_in_plane
from ctan_monai.data.dicom.read.ends import check_whole_ct
from ctan_monai.data.dicom.read.geometry import grid_from_ras
from ctan_monai.data.dicom.read.header import Header
from ctan_monai.data.dicom.read.job import fingerprint_of
from ctan_monai.data.dicom.read.link import Linked
from ctan_monai.data.dicom.read.options import DicomOptions
from ctan_monai.data.dicom.read.patient import read_image, read_patient, scale_mr
from ctan_monai.data.dicom.read.reading import in_modality
from ctan_monai.data.dicom.read.select import Study, select
from ctan_monai.data.dicom.read.series import CtSeries, MrSeries
from ctan_monai.data.dicom.write.reference import CtReference
from ctan_monai.data.formats.ct_source import CtSource, keep_nifti_source, read_source, write_source
from ctan_monai.data.formats.nifti import read_nifti_case
from ctan_monai.errors import DataError

_logger = logging.getLogger(__name__)
_VERSION = "ct case 2"  # raise it when the same files give another case


@dataclass(frozen=True)
class CtJob:
    """A CT series to convert to a case.

    Args:
        images: of the series.
        case: id.
        options: how to read.
        folder: for the case's file.
        others: structure sets and doses of the CT, which tell whether it was cut; nothing else is taken from them.
        damaged: files beside the images of this only CT there that look like DICOM and cannot be read.
        linked: what contours and prescription are read from, for networks that take them; None: the CT alone.
    """

    images: tuple[Header, ...]
    case: str
    options: DicomOptions
    folder: Path
    others: tuple[Header, ...] = ()
    damaged: tuple[Path, ...] = ()
    linked: Linked | None = None

    @property
    def file(self) -> Path:
        """The case's file."""
        return self.folder / f"{self.case}{CASE_SUFFIX}"


@dataclass(frozen=True)
class CtOutcome:
    """Result of a `CtJob`.

    Args:
        case: id.
        reason: why the CT cannot be used, with what to do; empty if it can.
        path: the file at fault, None if it is none alone.
    """

    case: str
    reason: str = ""
    path: Path | None = None


def make_ct_case(job: CtJob) -> CtOutcome:
    """Write the case of a CT series unless it exists; errors in the series are returned, not raised.

    Raises:
        DataError: the cache cannot be written, which concerns every case.
    """
    try:
        _check_damaged(job)
        study = None if job.linked is None else select(job.linked, job.options)
        objects = study.objects() if study else job.images
        fingerprint = fingerprint_of([*objects, *job.others], job.options, _VERSION)
        files = {each.path.resolve() for each in job.images}
        if _is_there(job.file, fingerprint) and files.issuperset(read_source(job.file).files):
            return CtOutcome(job.case)
        case, source = _read(job, fingerprint)
        case = _with_contours(case, study, job.options) if study else case
    except DataError as error:
        said = in_modality(f"{error.reason} {error.remedy}", job.options.modality)
        return CtOutcome(job.case, said, error.path if error.path.is_file() else None)
    except Exception as error:
        # One odd series must not stop the others; the message of what happened may quote the patient's data.
        reason = f"an unexpected {type(error).__name__} occurred. Read it with read_ct_series, and report it."
        return CtOutcome(job.case, reason)
    write_source(source, job.file)
    write_case(job.file, case, fingerprint)  # last: with it the case is there
    return CtOutcome(job.case)


def _check_damaged(job: CtJob) -> None:
    """Refuse the only CT of a folder if an unreadable file may be one of its slices."""
    if job.damaged and not job.options.repair:
        count = len(job.damaged)
        found = "1 file beside its images looks" if count == 1 else f"{count} files beside its images look"
        reason = f"{found} like DICOM and cannot be read; the CT may lack a slice."
        remedy = "Export it again, or take it out; --repair True predicts without it."
        raise DataError(job.damaged[0], None, reason, remedy)


def _is_there(file: Path, fingerprint: str) -> bool:
    try:
        return check_case_file(file).fingerprint == fingerprint == read_source(file).fingerprint
    except DataError:
        return False


def _read(job: CtJob, fingerprint: str) -> tuple[Case, CtSource]:
    ct, image = read_image([each.path for each in job.images], job.case, job.options)
    synthetic = any(each.synthetic for each in job.images)
    grid = grid_from_ras(image.shape, image.affine_ras)
    notes = [*ct.notes, *check_whole_ct(job.images, job.others, grid, ct.frame_uid, job.options.repair)]
    notes += [f"{len(job.damaged)} files beside its images cannot be read"] if job.damaged else []
    used = _images_used(job.images, ct)
    modality = job.options.modality
    # refused here rather than when all is predicted
    reference = CtReference.read([each.path for each in used], modality=modality)
    source = CtSource(
        job.case,
        (int(reference.first.Columns), int(reference.first.Rows), len(ct.sop_uids)),
        _affine_ras(reference, len(ct.sop_uids)),
        tuple(each.path for each in used),
        tuple(each.sop_uid for each in used),
        synthetic,
        fingerprint,
        modality,
    )
    notes = [in_modality(note, modality) for note in notes]
    for note in notes:
        _logger.warning("%s: %s", job.case, note)
    meta = {
        "source": "DICOM",
        "synthetic": synthetic,
        "patient_position": ct.patient_position,
        "notes": notes,
    }
    return reorient(dataclasses.replace(image, meta=meta), job.options.axcodes), source


def _with_contours(case: Case, study: Study, options: DicomOptions) -> Case:
    """Add structures and prescription of a patient to the case of the CT.

    Raises:
        DataError: they do not belong to the CT, or cannot be read.
    """
    drawn = read_patient(study, case.case, options)
    masks = {name: mask for name, mask in drawn.masks.items() if name != "dose_region"}
    stated = {"prescription_gy": options.prescription_gy, "dose_normalized_to_gy": options.normalize_to_gy}
    found = {name: value or drawn.meta.get(name) for name, value in stated.items()}
    return dataclasses.replace(case, masks=masks, meta={**case.meta, **found})


def _images_used(images: Iterable[Header], ct: CtSeries | MrSeries) -> list[Header]:
    """Return the images of the CT's slices, in order; interpolated slices have none."""
    by_uid = {each.sop_uid: each for each in images}
    return [by_uid[uid] for uid in ct.sop_uids if uid]


def _affine_ras(reference: CtReference, slices: int) -> Any:
    """Return the affine (4, 4) of the CT's grid, (column, row, slice), including interpolated slices."""
    affine = reference.affine_ras.copy()
    affine[:3, 2] *= (len(reference.headers) - 1) / (slices - 1)
    return affine


def make_nifti_case(path: Path, folder: Path, options: DicomOptions) -> Path:
    """Return the cached case of a CT or MR in NIfTI, creating it if it is missing.

    Raises:
        DataError: it cannot be read, or the cache cannot be written.
    """
    pixel = "own" if options.pixel_mm is None else f"{options.pixel_mm:g}"
    margin = "" if options.body_margin_mm is None else f" body {options.body_margin_mm:g}"
    margin += "" if options.modality == "CT" else f" {options.modality}"
    cache = CaseCache(folder, NiftiReader(options), f"{_VERSION} {pixel} {options.axcodes}{margin}")
    file = cache.get(path)
    keep_nifti_source(path, cache.name_of(path), file, cache.fingerprint(path), options.modality)
    return file


class NiftiReader:
    """Read a CT or MR from NIfTI on the grid of training, for `CaseCache`.

    Args:
        options: modality, pixel_mm, axcodes and body_margin_mm are used.
    """

    def __init__(self, options: DicomOptions) -> None:
        self.options = options

    def __call__(self, path: Path) -> Case:
        """Read one image.

        Raises:
            DataError: it cannot be read.
        """
        case = reorient(read_nifti_case(path, self.options.modality), self.options.axcodes)
        wanted, margin_mm = self.options.pixel_mm, self.options.body_margin_mm
        if wanted is not None and not np.allclose(case.spacing_mm[:2], wanted, rtol=1e-3):
            case = resample_in_plane(case, wanted)
        case = case if margin_mm is None else crop_to_body(case, margin_mm)
        return scale_mr(case) if self.options.modality == "MR" else case
