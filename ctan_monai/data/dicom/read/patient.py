"""Create cases from a patient's CT, structure set and doses."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ctan_monai.data.cases.body import body_of_mr, crop_to_body
from ctan_monai.data.cases.case import Case
from ctan_monai.data.cases.dose_levels import prescription_of_names
from ctan_monai.data.cases.grid import reorient, resample_in_plane
from ctan_monai.data.dicom.read.contours import read_rois
from ctan_monai.data.dicom.read.dose_sum import add, choose, total_dose
from ctan_monai.data.dicom.read.ends import check_images
from ctan_monai.data.dicom.read.geometry import Grid, grid_from_ras
from ctan_monai.data.dicom.read.header import Header
from ctan_monai.data.dicom.read.link import PlanDose
from ctan_monai.data.dicom.read.options import NAMES, DicomOptions
from ctan_monai.data.dicom.read.plan import Plan, read_plan
from ctan_monai.data.dicom.read.reading import in_modality, of_case, of_modality
from ctan_monai.data.dicom.read.select import Study
from ctan_monai.data.dicom.read.series import CtSeries, MrSeries, read_ct_series, read_mr_series
from ctan_monai.data.dicom.read.structures import Drawn, Structures, read_structures
from ctan_monai.errors import DataError

READER_VERSION = "dicom-3"  # raise it when read_patient returns something else for the same files
_FRAME_REMEDY = "Give the CT it was made on, or accept it with --repair, as its references lead to this CT."
_NO_LINK_REMEDY = "Give the CT it was made on; --repair does not help, as no reference leads to this CT."
_OTHER_GY = 0.5  # difference to what RTPLANs say that is noted
MR = "mr"  # the volume's name in a case
_SCALED = (0.5, 99.5)  # percentiles of an MR inside the body
_HIGH, _LOW = 3.0, 0.3  # highest dose of a plan in prescriptions; beyond, one of the two is not what it says


def read_patient(
    study: Study,
    case: str,
    options: DicomOptions | None = None,
    every: bool = False,
    meta: Mapping[str, Any] | None = None,
) -> Case:
    """Read a patient's CT, structures and doses as a case.

    Args:
        study: what it is made of.
        case: its id.
        options: how.
        every: keep every structure under its own name, made safe for files, rather than those whose names are
            understood under TG-263's.
        meta: added to the case's.

    Returns:
        volumes: ct, int16 HU, or mr, see `read_image`; and dose, float32 Gy (0 where it is unknown).
        masks: the structures, and dose_region: where the dose is known (nowhere, if there is none).
        meta: prescription_gy (None if unknown) and where it was read, fractions, what was chosen, notes.

    Raises:
        DataError: something does not belong together, cannot be read or is not what it should be.
    """
    options = options or DicomOptions()
    with of_case(case), of_modality(options.modality):
        return _read_patient(study, case, options, every, meta or {})


def _read_patient(study: Study, case: str, options: DicomOptions, every: bool, meta: Mapping[str, Any]) -> Case:
    ct, image = read_image([each.path for each in study.ct], case, options)
    notes = [*study.notes, *ct.notes]
    grid = grid_from_ras(image.shape, image.affine_ras)
    structures = Structures({}, {}, (), ())
    if study.structure_set is not None:
        notes += check_belongs(study.structure_set, study.ct, ct, options.repair)
        present = frozenset(each.sop_uid for each in study.ct)
        drawn = Drawn(ct.frame_uid, present, study.structure_set.frame_images)
        structures = read_structures(study.structure_set.path, grid, drawn, options, every)
        notes += structures.notes
    volumes, masks = dict(image.volumes), dict(structures.masks)
    masks["dose_region"] = np.zeros(grid.shape, np.bool_)
    found: dict[str, Any] = {}
    if study.plan_doses:
        options, source = _with_named(study, options)
        volumes["dose"], masks["dose_region"], found = _dose(study, ct, grid, options)
        notes += found.pop("notes")
        found |= {"prescription_source": source} if source else {}
    facts = {
        "source": "DICOM",
        "synthetic": any(each.synthetic for each in study.ct),
        "patient_position": ct.patient_position,
        "structures": dict(structures.original),
        "unknown_structures": list(structures.unknown),
        **found,
        **meta,
        "notes": [in_modality(note, options.modality) for note in notes],
    }
    return reorient(dataclasses.replace(image, volumes=volumes, masks=masks, meta=facts), options.axcodes)


def read_image(files: Iterable[str | Path], case: str, options: DicomOptions) -> tuple[CtSeries | MrSeries, Case]:
    """Read the CT or MR of a case.

    Args:
        files: the images of the series.
        case: id.
        options: modality, repair, pixel_mm and body_margin_mm are used.

    Returns:
        The series as it was scanned; a case of nothing but it with the pixels that are asked for, not turned yet: the
        volume ct, int16 HU, or mr, float32, see `scale_mr`.

    Raises:
        DataError: a file cannot be read, or the images do not make a volume.
    """
    series: CtSeries | MrSeries
    if options.modality == "MR":
        series = read_mr_series(files)
        image = Case(case, {MR: series.signal}, {}, series.grid.affine_ras)
    else:
        series = read_ct_series(files, options.repair)
        image = Case(case, {"ct": series.hu}, {}, series.grid.affine_ras)
    image = image if options.pixel_mm is None else resample_in_plane(image, options.pixel_mm)
    image = image if options.body_margin_mm is None else crop_to_body(image, options.body_margin_mm)
    return series, scale_mr(image) if options.modality == "MR" else image


def scale_mr(case: Case) -> Case:
    """Scale an MR, which has no unit, so that two percentiles inside the body become 0 and 1.

    They are the 0.5th and the 99.5th, of the whole image where no body is found.

    Raises:
        DataError: the image is constant there.
    """
    signal = np.asarray(case.volumes[MR], np.float32)
    body = body_of_mr(signal, case.spacing_mm)
    low, high = (float(value) for value in np.percentile(signal if body is None else signal[body], _SCALED))
    if not high > low:
        raise DataError(case.case, case.case, f"the signal of the MR is {low:g} throughout.", "Give another series.")
    return dataclasses.replace(case, volumes={**case.volumes, MR: (signal - np.float32(low)) / np.float32(high - low)})


def check_belongs(structure_set: Header, images: Iterable[Header], ct: CtSeries | MrSeries, repair: bool) -> list[str]:
    """Check that a structure set was drawn on a complete CT.

    Returns:
        Notes on what was accepted because of ``repair``.

    Raises:
        DataError: it has another frame of reference, or refers to images that are not in the folder.
    """
    images = list(images)
    notes = check_images(structure_set, images, repair)
    if structure_set.frames and ct.frame_uid not in structure_set.frames:
        reason = "the structure set has another frame of reference than the CT."
        if not ct.frame_uid:
            reason = "the CT has no FrameOfReferenceUID, so it is not known whether the structure set has the same."
        leads = any(group & {each.sop_uid for each in images} for group in structure_set.images.values())
        if not repair or not leads:
            raise DataError(structure_set.path, None, reason, _FRAME_REMEDY if leads else _NO_LINK_REMEDY)
        notes.append(f"accepted by its references although {reason.rstrip('.')}")
    return notes


def _dose(
    study: Study, ct: CtSeries | MrSeries, grid: Grid, options: DicomOptions
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_], dict[str, Any]]:
    """Return the dose in Gy, the region in which it is known, and facts about it."""
    plans = [read_plan(group.plan.path) if group.plan else None for group in study.plan_doses]
    notes: list[str] = []
    parts, kinds = [], []
    for group, plan in zip(study.plan_doses, plans, strict=True):
        chosen = choose(group.doses)
        kinds.append(chosen.how)
        part, frames, more = total_dose(chosen, plan, grid, _reference(plan, options), options.repair)
        notes += more + _check_frames(group, frames, study, ct, options.repair)
        parts.append(part)
    dose_gy, region = add(parts) if len(parts) > 1 else parts[0]
    if not region.any():
        raise DataError(study.plan_doses[0].doses[0].path, None, "the dose grid lies outside the CT.", "Check the CT.")
    prescription, source, more = _prescription(plans, options)
    notes += _check_height(study, float(dose_gy.max()), prescription) + more
    facts: dict[str, Any] = {
        "prescription_gy": prescription,
        "prescription_source": source,
        "fractions": sum(plan.fractions for plan in plans if plan and plan.fractions) or None,
        "dose": " + ".join(kinds),
        "dose_max_gy": round(float(dose_gy.max()), 3),
    }
    if options.normalize_to_gy is not None:
        if prescription is None:
            reason = "the dose cannot be normalized, as the prescription is unknown."
            raise DataError(study.ct[0].path.parent, None, reason, "Add the RTPLAN, or give --prescription.")
        factor = options.normalize_to_gy / prescription
        dose_gy = dose_gy * np.float32(factor)
        facts |= {"dose_normalized_to_gy": options.normalize_to_gy, "dose_factor": factor}
    return dose_gy, region, {**facts, "notes": notes}


def _with_named(study: Study, options: DicomOptions) -> tuple[DicomOptions, str]:
    """Fill in the prescription that the targets' names state, if they are asked; say where it is from."""
    if options.prescription_gy != NAMES:
        return options, ""
    rois = read_rois(study.structure_set.path) if study.structure_set else []
    targets = [roi.name for roi in rois if roi.contours]
    found = prescription_of_names(targets)
    if found is None:
        at = study.structure_set.path if study.structure_set else study.ct[0].path.parent
        reason = "no target's name states a dose level, which prescription_gy: names asks for."
        raise DataError(at, None, reason, "Name it as PTV_7000 (cGy) or PTV_70Gy, or give a table of prescriptions.")
    return dataclasses.replace(options, prescription_gy=found), "names of targets"


def _reference(plan: Plan | None, options: DicomOptions) -> float | None:
    given = options.prescription_gy
    return given if isinstance(given, int | float) else plan.prescription_gy if plan else None


def _check_frames(group: PlanDose, frames: set[str], study: Study, ct: CtSeries | MrSeries, repair: bool) -> list[str]:
    """Check that doses are of the CT's frame of reference; return a note if only that links them."""
    notes = []
    structure_set = study.structure_set
    named = {uid for dose in group.doses for uid in dose.structure_sets}
    named |= set(group.plan.structure_sets) if group.plan else set()
    by_reference = structure_set is not None and structure_set.sop_uid in named
    if frames != {ct.frame_uid} or not ct.frame_uid:
        lacking = " and ".join(name for name, has in (("CT", ct.frame_uid), ("dose", all(frames))) if not has)
        reason = "the dose has another frame of reference than the CT."
        if lacking:
            reason = f"the {lacking} has no FrameOfReferenceUID, so it is not known whether dose and CT have the same."
        if not (repair and by_reference):
            remedy = _FRAME_REMEDY if by_reference else _NO_LINK_REMEDY
            raise DataError(group.doses[0].path, None, reason, remedy)
        notes.append(f"accepted by its references although {reason.rstrip('.')}")
    if structure_set is not None and not by_reference:
        notes.append("the dose was linked by its frame of reference only; it names no structure set that is here")
    return notes


def _prescription(plans: Sequence[Plan | None], options: DicomOptions) -> tuple[float | None, str, list[str]]:
    if isinstance(options.prescription_gy, int | float):
        planned = sum(plan.prescription_gy or 0.0 for plan in plans if plan is not None)
        other = bool(planned) and abs(planned - options.prescription_gy) > _OTHER_GY
        return options.prescription_gy, "given", [f"the RTPLANs prescribe {planned:g} Gy"] if other else []
    known = [plan for plan in plans if plan is not None and plan.prescription_gy is not None]
    if len(known) < len(plans):
        return None, "", ["the prescription is unknown: no RTPLAN in the folder states it"]
    several = [f"several targets are prescribed: {plan.targets_gy} Gy" for plan in known if len(plan.targets_gy) > 1]
    total = sum(plan.prescription_gy or 0.0 for plan in known)
    return round(total, 6), " + ".join(plan.source for plan in known), several


def _check_height(study: Study, high_gy: float, prescription: float | None) -> list[str]:
    if prescription is None or _LOW * prescription <= high_gy <= _HIGH * prescription:
        return []
    found = f"the dose reaches {high_gy:g} Gy with a prescription of {prescription:g} Gy"
    if high_gy > prescription:
        path = study.plan_doses[0].doses[0].path
        raise DataError(path, None, f"{found}; one of the two may be in cGy.", "Export again, or give --prescription.")
    return [f"{found}; is it the dose of one fraction?"]
