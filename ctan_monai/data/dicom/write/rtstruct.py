"""Write masks as the contours of a DICOM RTSTRUCT."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ctan_monai.data.dicom.write.common import (
    LABEL,
    LONG,
    Written,
    color_of,
    item_of,
    new_object,
    refer_to,
    save_new,
    type_of,
)
from ctan_monai.data.dicom.write.identity import Clock, UidSource, new_uid
from ctan_monai.data.dicom.write.planes import Points, contours_of_mask, in_planes
from ctan_monai.data.dicom.write.reference import OPERATOR, CtReference, Origin, shortened
from ctan_monai.errors import DataError

RT_STRUCTURE_SET = "1.2.840.10008.5.1.4.1.1.481.3"
_STUDY = "1.2.840.10008.3.1.2.3.1"  # Detached Study Management, retired, as the standard's reference wants
_CONTOUR_DATA = 0x30060050
_DECIMALS = 3  # a thousandth of a mm
_logger = logging.getLogger(__name__)

Contour = tuple[Any, Points]
"""A contour: the CT image it was drawn on (None if that image is missing), and (N, 3) LPS mm."""


def write_rtstruct(
    masks: Mapping[str, npt.NDArray[Any]],
    affine_ras: npt.NDArray[Any],
    reference: CtReference,
    path: str | Path,
    origin: Origin,
    *,
    clock: Clock = datetime.now,
    uid_source: UidSource = new_uid,
) -> Written:
    """Write structures as RTSTRUCT; no file is replaced.

    Each connected edge becomes a CLOSED_PLANAR contour; a hole is a contour of its own inside another, as Eclipse and
    RayStation write and read it (even-odd rule). A program that asks which voxel centers lie inside gets the masks
    back exactly.

    Args:
        masks: by the structure's name, three axes in any order. An empty mask gets no entry, which the log says.
        affine_ras: (4, 4) voxel index -> mm; the planes must be the CT's, pixels may be of another size.
        reference: the CT.
        path: the file.
        origin: what made the structures.
        clock: tells the time.
        uid_source: gives UIDs.

    Raises:
        DataError: the planes are not the CT's, no mask holds a voxel, the file exists or cannot be written.
    """
    contours = mask_contours(masks, affine_ras, reference)
    return save_new(build_rtstruct(contours, reference, origin, clock=clock, uid_source=uid_source), path)


def mask_contours(
    masks: Mapping[str, npt.NDArray[Any]], affine_ras: npt.NDArray[Any], reference: CtReference
) -> dict[str, list[Contour]]:
    """Trace the contours of masks plane by plane.

    Returns:
        By structure, from the lowest plane along the CT's normal upwards; structures without a voxel are left out.

    Raises:
        DataError: the planes are not the CT's.
    """
    found: dict[str, list[Contour]] = {}
    for name, mask in masks.items():
        planes = in_planes(np.asarray(mask, np.bool_), affine_ras, reference, f"mask {name}")
        used = [int(plane) for plane in np.flatnonzero(planes.voxels.any(axis=(1, 2)))]
        images = {plane: _image_of(planes.along_mm(plane), reference, name) for plane in used}
        if used and not any(images.values()):
            raise DataError(
                f"mask {name}", None, "none of its planes is one of the CT's.", "Resample the mask to the CT's grid."
            )
        if None in images.values():
            gaps = sum(image is None for image in images.values())
            _logger.warning("%s: %d planes have no CT image; their contours refer to none", name, gaps)
        contours = [
            (images[plane], planes.where_mm(plane, points))
            for plane in used
            for points in contours_of_mask(planes.voxels[plane])
        ]
        if contours:
            found[name] = contours
        else:
            _logger.warning("%s is empty and gets no entry in the RTSTRUCT", name)
    return found


def _image_of(along_mm: float, reference: CtReference, name: str) -> Any | None:
    slice_mm = reference.spacing_mm[0]
    lowest, highest = reference.along_mm[0] - slice_mm / 2, reference.along_mm[-1] + slice_mm / 2
    if not lowest <= along_mm <= highest:
        reason = f"a plane lies at {along_mm:.2f} mm, the CT from {lowest:.2f} to {highest:.2f} mm along its normal."
        raise DataError(f"mask {name}", None, reason, "Resample the mask to the CT's grid.")
    return reference.image_at(along_mm)


def build_rtstruct(
    contours: Mapping[str, Iterable[Contour]],
    reference: CtReference,
    origin: Origin,
    *,
    clock: Clock,
    uid_source: UidSource,
) -> Any:
    """Create the dataset that ``write_rtstruct`` writes.

    Raises:
        DataError: there is no contour.
    """
    named = {name: list(entries) for name, entries in contours.items()}
    if not any(named.values()):
        raise DataError("RTSTRUCT", None, f"none of {list(named)} has a contour.", "Check the prediction.")
    made = new_object(RT_STRUCTURE_SET, "RTSTRUCT", reference, origin, clock, uid_source)
    made.StructureSetLabel = shortened(origin.label, LABEL)
    made.StructureSetName = shortened(origin.statement, LONG)
    made.StructureSetDescription = origin.text
    made.StructureSetDate, made.StructureSetTime = made.InstanceCreationDate, made.InstanceCreationTime
    made.ApprovalStatus = "UNAPPROVED"
    made.ReferencedFrameOfReferenceSequence = [_frame(reference)]
    made.StructureSetROISequence = _each(named, lambda number, name: _roi(number, name, reference, origin))
    made.ROIContourSequence = _each(named, lambda number, name: _roi_contour(number, name, named[name]))
    made.RTROIObservationsSequence = _each(named, _observation)
    return made


def _each(names: Iterable[str], build: Callable[[int, str], Any]) -> list[Any]:
    return [build(number, name) for number, name in enumerate(names, start=1)]


def _frame(reference: CtReference) -> Any:
    """Create the item that refers to frame of reference, study, series and images of the CT."""
    series = item_of(
        SeriesInstanceUID=reference.first.SeriesInstanceUID,
        ContourImageSequence=[refer_to(header.SOPClassUID, header.SOPInstanceUID) for header in reference.headers],
    )
    study = refer_to(_STUDY, reference.first.StudyInstanceUID, RTReferencedSeriesSequence=[series])
    return item_of(FrameOfReferenceUID=reference.first.FrameOfReferenceUID, RTReferencedStudySequence=[study])


def _roi(number: int, name: str, reference: CtReference, origin: Origin) -> Any:
    return item_of(
        ROINumber=number,
        ReferencedFrameOfReferenceUID=reference.first.FrameOfReferenceUID,
        ROIName=shortened(name, LONG),
        ROIDescription=origin.text,
        ROIGenerationAlgorithm=origin.generation,
        ROIGenerationDescription=shortened(origin.statement, LONG),
    )


def _roi_contour(number: int, name: str, contours: list[Contour]) -> Any:
    return item_of(
        ROIDisplayColor=list(color_of(name, number)),
        ReferencedROINumber=number,
        ContourSequence=[_contour(image, points) for image, points in contours],
    )


def _contour(image: Any | None, points_mm: Points) -> Any:
    from pydicom.dataelem import RawDataElement
    from pydicom.tag import Tag

    item = item_of(ContourGeometricType="CLOSED_PLANAR", NumberOfContourPoints=len(points_mm))
    if image is not None:
        item.ContourImageSequence = [refer_to(image.SOPClassUID, image.SOPInstanceUID)]
    rounded = np.round(points_mm, _DECIMALS) + 0.0  # no -0.000
    text = "\\".join([f"{value:.{_DECIMALS}f}" for value in rounded.ravel().tolist()]).encode("ascii")
    text += b" " * (len(text) % 2)
    # as bytes: pydicom would make, and check, an object for each of a hundred thousand numbers
    item[_CONTOUR_DATA] = RawDataElement(Tag(_CONTOUR_DATA), "DS", len(text), text, 0, True, True)
    item.set_original_encoding(True, True, "iso8859")
    return item


def _observation(number: int, name: str) -> Any:
    return item_of(
        ObservationNumber=number,
        ReferencedROINumber=number,
        ROIObservationLabel=shortened(name, LABEL),
        RTROIInterpretedType=type_of(name),
        ROIInterpreter=OPERATOR,
    )
