"""Write masks as a DICOM Segmentation, through highdicom (the optional extra ``dicom``)."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ctan_monai.data.dicom.write.common import (
    IMPLEMENTATION_UID,
    LABEL,
    LONG,
    Written,
    color_of,
    is_synthetic,
    mark_synthetic,
    save_new,
    with_required,
)
from ctan_monai.data.dicom.write.identity import Clock, UidSource, new_uid
from ctan_monai.data.dicom.write.planes import in_planes
from ctan_monai.data.dicom.write.reference import SOFTWARE, CtReference, Origin, shortened
from ctan_monai.errors import ConfigError, DataError, install

_PLACE_MM = 0.05  # how far a mask's plane may lie from the CT's
_logger = logging.getLogger(__name__)


class Code(NamedTuple):
    """A coded concept.

    Args:
        value: the code.
        scheme: who defined it: SCT (SNOMED CT), DCM (DICOM).
        meaning: in words.
    """

    value: str
    scheme: str
    meaning: str


ARTIFICIAL_INTELLIGENCE = Code("123110", "DCM", "Artificial Intelligence")
_ANATOMY = Code("91723000", "SCT", "Anatomical Structure")
_CONCEPT = Code("309825002", "SCT", "Spatial and Relational Concept")
LEFT, RIGHT = Code("7771000", "SCT", "Left"), Code("24028007", "SCT", "Right")
_ORGAN = Code("91772007", "SCT", "Organ")  # what is not in the table, named by its label only
_KINDS = {
    "rectum": Code("34402009", "SCT", "Rectum"),
    "bladder": Code("89837001", "SCT", "Bladder"),
    "femur": Code("71341001", "SCT", "Femur"),
    "prostate": Code("41216001", "SCT", "Prostate"),
    "seminalves": Code("64739004", "SCT", "Seminal Vesicle"),
    "ctv": Code("228792002", "SCT", "Clinical target volume"),
    "ptv": Code("228793007", "SCT", "Planning target volume"),
}
_TARGETS = ("ctv", "ptv")
_ABNORMAL = Code("49755003", "SCT", "Morphologically Abnormal Structure")
_LESIONS = {"tumor": Code("108369006", "SCT", "Neoplasm"), "lesion": Code("52988006", "SCT", "Lesion")}


def codes_of(name: str) -> tuple[Code, Code, Code | None]:
    """Return the codes of category, type and laterality of a structure; the latter is None without a side.

    Source: DICOM PS3.16 CID 7150 (categories), CID 244 (laterality), SNOMED CT.
    """
    stem, *parts = name.lower().split("_")
    if stem in _LESIONS:
        return _ABNORMAL, _LESIONS[stem], None
    kind = _KINDS.get(stem) or next((_KINDS[start] for start in _TARGETS if stem.startswith(start)), _ORGAN)
    side = LEFT if "l" in parts else RIGHT if "r" in parts else None
    category = _CONCEPT if stem.startswith(_TARGETS) else _ANATOMY
    return category, kind, side


def write_seg(
    masks: Mapping[str, npt.NDArray[Any]],
    affine_ras: npt.NDArray[Any],
    reference: CtReference,
    path: str | Path,
    origin: Origin,
    *,
    clock: Clock = datetime.now,
    uid_source: UidSource = new_uid,
) -> Written:
    """Write structures as a binary SEG on the CT's own pixels; no file is replaced.

    Args:
        masks: by the structure's name, three axes in any order, on the CT's grid. Empty masks are left out, which
            the log says. Structures may overlap.
        affine_ras: (4, 4) voxel index -> mm.
        reference: the CT.
        path: the file.
        origin: what made the structures.
        clock: tells the time.
        uid_source: gives UIDs.

    Raises:
        ConfigError: highdicom is not installed.
        DataError: the masks are not on the CT's grid, all are empty, the file exists or cannot be written.
    """
    highdicom = need_highdicom()
    frames = {name: _frames(np.asarray(mask, np.bool_), affine_ras, reference, name) for name, mask in masks.items()}
    empty = [name for name, mask in frames.items() if not mask.any()]
    if len(empty) == len(frames):
        raise DataError("SEG", None, f"none of {list(frames)} holds a voxel.", "Check the prediction.")
    if empty:
        _logger.warning("%s: empty, and not in the SEG", ", ".join(empty))
    names = [name for name in frames if name not in empty]
    headers = [with_required(header) for header in reference.headers]
    stacked = np.stack([frames[name] for name in names], axis=-1)  # (K, R, C, L)
    return save_new(segmentation_of(highdicom, headers, stacked, names, origin, clock, uid_source), path)


def segmentation_of(
    highdicom: Any,
    headers: Sequence[Any],
    frames: npt.NDArray[np.bool_],
    names: Sequence[str],
    origin: Origin,
    clock: Clock,
    uid_source: UidSource,
) -> Any:
    """Create a binary SEG of K images.

    Args:
        highdicom: the module.
        headers: of the images.
        frames: (K, R, C, L).
        names: of the L structures.
        origin: what made them.
        clock: tells the time.
        uid_source: gives UIDs.
    """
    made = highdicom.seg.Segmentation(
        source_images=headers,
        pixel_array=frames.view(np.uint8),
        segmentation_type=highdicom.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[_description(highdicom, number, name, origin) for number, name in enumerate(names, 1)],
        series_instance_uid=uid_source(),
        series_number=1,
        sop_instance_uid=uid_source(),
        instance_number=1,
        manufacturer=SOFTWARE,
        manufacturer_model_name=shortened(origin.model, LONG),
        software_versions=shortened(origin.version, LONG),
        device_serial_number=shortened(origin.version, LONG),
        content_label=shortened(origin.label, LABEL),
        content_description=shortened(origin.statement, LONG),
        series_description=shortened(origin.statement, LONG),
    )
    _settle(made, clock, uid_source)
    if is_synthetic(headers[0]):
        mark_synthetic(made)
    return made


def need_highdicom() -> Any:
    """Import highdicom, with its messages of less than a warning turned off.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import highdicom
        import highdicom.seg
        import highdicom.sr
    except ImportError as error:
        raise ConfigError(
            "DICOM SEG and SR", f"highdicom cannot be imported ({error}).", f"Run {install('dicom', 'highdicom')}."
        ) from error
    if not logging.getLogger("highdicom").level:  # nobody asked for its messages, one for every module that it copies
        logging.getLogger("highdicom").setLevel(logging.WARNING)
    return highdicom


def _frames(
    mask: npt.NDArray[np.bool_], affine_ras: npt.NDArray[Any], reference: CtReference, name: str
) -> npt.NDArray[np.bool_]:
    """Return (K, R, C) with one frame for each image of the CT."""
    planes = in_planes(mask, affine_ras, reference, f"mask {name}")
    frames = np.zeros((len(reference.headers), reference.first.Rows, reference.first.Columns), np.bool_)
    remedy = "Resample the mask to the CT's grid, or write an RTSTRUCT."
    if planes.voxels.shape[1:] != frames.shape[1:]:
        reason = f"its planes have {planes.voxels.shape[1:]} pixels, the CT's {frames.shape[1:]}."
        raise DataError(f"mask {name}", None, reason, remedy)
    corner = np.array([[frames.shape[2] - 1.0, frames.shape[1] - 1.0]])
    _, row_mm, column_mm = reference.spacing_mm
    for plane in np.flatnonzero(planes.voxels.any(axis=(1, 2))).tolist():
        image = int(np.argmin(np.abs(reference.along_mm - planes.along_mm(plane))))
        first = reference.positions_mm[image]
        last = first + corner[0, 0] * column_mm * reference.axes[0] + corner[0, 1] * row_mm * reference.axes[1]
        place = np.concatenate([planes.where_mm(plane, np.zeros((1, 2))), planes.where_mm(plane, corner)])
        away_mm = float(np.abs(place - np.stack([first, last])).max())
        if away_mm > _PLACE_MM:
            reason = f"its plane {plane} lies {away_mm:.2f} mm from the nearest CT image's."
            raise DataError(f"mask {name}", None, reason, remedy)
        frames[image] = planes.voxels[plane]
    return frames


def _description(highdicom: Any, number: int, name: str, origin: Origin) -> Any:
    category, kind, side = codes_of(name)
    algorithm = highdicom.AlgorithmIdentificationSequence(
        name=shortened(origin.model, LONG),
        family=coded(highdicom, ARTIFICIAL_INTELLIGENCE),
        version=shortened(origin.version, LONG),
    )
    made = highdicom.seg.SegmentDescription(
        segment_number=number,
        segment_label=shortened(name, LONG),
        segmented_property_category=coded(highdicom, category),
        segmented_property_type=coded(highdicom, kind),
        algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=algorithm,
        display_color=highdicom.color.CIELabColor.from_rgb(*color_of(name, number)),
    )
    made.SegmentDescription = origin.text
    if side:
        made.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = [coded(highdicom, side)]
    return made


def coded(highdicom: Any, code: Code) -> Any:
    """Return a code as highdicom has it."""
    return highdicom.sr.CodedConcept(code.value, code.scheme, code.meaning)


def _settle(made: Any, clock: Clock, uid_source: UidSource) -> None:
    """Replace highdicom's times and UIDs by those of the given clock and source."""
    settle_times(made, clock)
    organization = uid_source()
    indexes: Sequence[Any] = (*made.DimensionOrganizationSequence, *made.DimensionIndexSequence)
    for item in indexes:
        item.DimensionOrganizationUID = organization


def settle_times(made: Any, clock: Clock) -> None:
    """Replace highdicom's times by the clock's, and say which software writes the file."""
    now = clock()
    for keyword in ("InstanceCreationDate", "ContentDate", "SeriesDate"):
        setattr(made, keyword, now.strftime("%Y%m%d"))
    for keyword in ("InstanceCreationTime", "ContentTime", "SeriesTime"):
        setattr(made, keyword, now.strftime("%H%M%S"))
    for item in made.get("ContributingEquipmentSequence", ()):
        item.ContributionDateTime = now.strftime("%Y%m%d%H%M%S")
    made.file_meta.ImplementationClassUID = IMPLEMENTATION_UID
    made.file_meta.ImplementationVersionName = SOFTWARE[:16].upper()
