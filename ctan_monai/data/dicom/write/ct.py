"""Write a CT that a network made of another image, or a synthetic patient's CT or MR, as a DICOM series."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ctan_monai.data.cases.grid import reoriented
from ctan_monai.data.dicom.write.common import decimal, item_of, mark_synthetic, new_object, refer_to, save_new
from ctan_monai.data.dicom.write.identity import Clock, UidSource, new_uid
from ctan_monai.data.dicom.write.reference import CtReference, Floats, Origin, shortened
from ctan_monai.errors import DataError

CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
MR_IMAGE = "1.2.840.10008.5.1.4.1.1.4"
_LOWEST_HU = -1024  # what a stored 0 means, unless something is lower
_LEVELS = 2**16
_DERIVATION = 1024  # characters of a short text
_RIGHT_ANGLE = 1e-4  # cosine
_LEAN = 2e-3  # of planes against each other, as rounded positions of an MR have it; each image says its own position
_SAME_PLANE_MM = 0.05
_SOURCE_IMAGE = ("121322", "DCM", "Source image for image processing operation")  # PS3.16 CID 7202


def write_ct_series(
    ct_hu: npt.NDArray[Any],
    affine_ras: npt.NDArray[Any],
    folder: str | Path,
    origin: Origin,
    *,
    source: CtReference | None = None,
    study: CtReference | None = None,
    clock: Clock = datetime.now,
    uid_source: UidSource = new_uid,
) -> list[Path]:
    """Write a synthetic CT as CT.0001.dcm, CT.0002.dcm ..., from foot to head; no file is replaced.

    Planes are those of the grid that are nearest to axial ones, turned without interpolation. Values are rounded to
    whole HU. Every image is DERIVED and SECONDARY, made artificially (SyntheticData), and refers to the images that it
    was made of, of its own plane where there is one. Type 2 attributes of a scanner, such as KVP, are empty.

    Args:
        ct_hu: three axes in any order, HU.
        affine_ras: (4, 4) voxel index -> mm.
        folder: for the files.
        origin: what made the CT.
        source: the images that it was made of, whose patient, study and frame of reference it gets. None for a study
            and a frame of reference of its own.
        study: patient, study and frame of reference where there is no source, see `new_study`.
        clock: tells the time.
        uid_source: gives UIDs.

    Returns:
        The files, from foot to head.

    Raises:
        DataError: a value is no number or does not fit 16 bits, the grid is sheared, or a file exists or cannot be
            written.
    """
    images = build_series(ct_hu, affine_ras, origin, source or study, clock=clock, uid_source=uid_source)
    return [save_new(image, Path(folder) / f"CT.{number:04d}.dcm").path for number, image in enumerate(images, 1)]


def build_series(
    values: npt.NDArray[Any],
    affine_ras: npt.NDArray[Any],
    origin: Origin,
    reference: CtReference | None,
    *,
    modality: str = "CT",
    clock: Clock = datetime.now,
    uid_source: UidSource = new_uid,
) -> Iterator[Any]:
    """Yield the images of `write_ct_series`, or those of an MR.

    Args:
        values: three axes in any order: HU, or the signal of an MR, 0 and above.
        affine_ras: (4, 4) voxel index -> mm.
        origin: what made the images.
        reference: the images that they were made of, or a new study.
        modality: 'CT' or 'MR'.
        clock: tells the time.
        uid_source: gives UIDs.
    """
    stored, intercept = _stored(values) if modality == "CT" else (np.rint(values).astype("<u2"), 0)
    planes, origin_mm, step_mm = _axial(stored, affine_ras)
    reference = reference or new_study("", uid_source)
    shared = _shared(reference, origin, modality, step_mm, clock, uid_source)
    if modality == "CT":
        shared.KVP = shared.AcquisitionNumber = None
        shared.RescaleIntercept, shared.RescaleSlope, shared.RescaleType = intercept, 1, "HU"
        shared.WindowCenter, shared.WindowWidth = "40", "400"
    else:
        _describe_mr(shared)
    for index, plane in enumerate(planes):
        first_mm = origin_mm + index * step_mm[0]
        made = _image(shared, plane, index, first_mm, uid_source())
        if "SOPInstanceUID" in reference.first:
            made.SourceImageSequence = _sources(reference, first_mm, step_mm)
        yield made


def _stored(ct_hu: npt.NDArray[Any]) -> tuple[npt.NDArray[np.uint16], int]:
    """Return the stored values and the RescaleIntercept."""
    if ct_hu.ndim != 3 or not np.isfinite(ct_hu).all():
        count = int((~np.isfinite(ct_hu)).sum())
        reason = f"its shape is {ct_hu.shape}, and {count} voxels are NaN or infinite; expected three axes of HU."
        raise DataError("synthetic CT", None, reason, "Check the network.")
    low, high = int(np.rint(ct_hu.min())), int(np.rint(ct_hu.max()))
    intercept = min(_LOWEST_HU, low)
    if high - intercept >= _LEVELS:
        raise DataError("synthetic CT", None, f"{low} to {high} HU do not fit 16 bits.", "Check the network.")
    return (np.rint(ct_hu).astype(np.int64) - intercept).astype("<u2"), intercept


def _axial(array: npt.NDArray[Any], affine_ras: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], Floats, Floats]:
    """Turn an array to (K, R, C), as near as its axes come to head, back and left.

    Returns:
        The array; (3,) LPS of its first voxel, mm; (3, 3) LPS from a voxel to the next plane, row, column.
    """
    turned, affine = reoriented(array, np.asarray(affine_ras, np.float64), "LPS")
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    step_mm = lps[:3, :3].T[::-1]
    unit = step_mm / np.linalg.norm(step_mm, axis=1, keepdims=True)
    cosines = np.abs(unit @ unit.T - np.eye(3))
    if not (cosines[1, 2] <= _RIGHT_ANGLE and cosines.max() <= _LEAN):
        angle = float(np.degrees(np.arccos(min(cosines.max(), 1.0))))
        reason = f"the axes of its grid are not perpendicular (an angle of {angle:.2f} degrees)."
        raise DataError("synthetic CT", None, reason, "Resample the image to a grid with right angles.")
    return turned.transpose(2, 1, 0), lps[:3, 3], step_mm


def new_study(name: str, uid_source: UidSource, **attributes: str) -> CtReference:
    """Create the header of a new study and frame of reference.

    Args:
        name: PatientName and PatientID.
        uid_source: gives the UIDs.
        attributes: further ones of patient, study and position, by keyword.
    """
    from pydicom.dataset import Dataset

    made = Dataset()
    made.PatientName, made.PatientID = name and f"{name}^", name
    made.StudyInstanceUID, made.FrameOfReferenceUID = uid_source(), uid_source()
    for keyword, value in attributes.items():
        setattr(made, keyword, value)
    return CtReference((made,))


def _shared(
    reference: CtReference, origin: Origin, modality: str, step_mm: Floats, clock: Clock, uid_source: UidSource
) -> Any:
    """Create what all images have in common."""
    from pydicom.uid import ExplicitVRLittleEndian

    made = new_object(CT_IMAGE if modality == "CT" else MR_IMAGE, modality, reference, origin, clock, uid_source)
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    mark_synthetic(made)
    made.ImageType = ["DERIVED", "SECONDARY", "AXIAL"]
    made.ContentDate, made.ContentTime = made.InstanceCreationDate, made.InstanceCreationTime
    made.ImageComments = origin.text
    made.DerivationDescription = shortened(origin.text, _DERIVATION)
    made.PatientPosition = reference.first.get("PatientPosition") or ""
    part = reference.first.get("BodyPartExamined")
    if part:
        made.BodyPartExamined = part
    if not part or "Laterality" in reference.first:
        made.Laterality = reference.first.get("Laterality") or ""
    slice_mm, row_mm, column_mm = np.linalg.norm(step_mm, axis=1)
    made.SliceThickness = decimal(slice_mm)
    made.PixelSpacing = [decimal(row_mm), decimal(column_mm)]
    made.ImageOrientationPatient = [decimal(value) for value in (*step_mm[2] / column_mm, *step_mm[1] / row_mm)]
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 16, 16, 15, 0
    return made


def _describe_mr(made: Any) -> None:
    """Add what an MR image must say: a T2-weighted spin echo; its times are unknown, as nothing was measured."""
    made.SeriesDescription = shortened(f"T2 {made.get('SeriesDescription', '')}", 64)
    made.ImageType = ["DERIVED", "SECONDARY", "OTHER"]
    made.ScanningSequence, made.SequenceVariant, made.ScanOptions = "SE", "NONE", ""
    made.MRAcquisitionType, made.EchoTime, made.EchoTrainLength, made.RepetitionTime = "2D", None, None, None
    made.AcquisitionNumber = None


def _image(shared: Any, plane: npt.NDArray[np.uint16], index: int, first_mm: Floats, uid: str) -> Any:
    from pydicom.dataset import Dataset, FileMetaDataset

    made = Dataset()
    made.update(shared)
    made.file_meta = FileMetaDataset()
    made.file_meta.update(shared.file_meta)
    made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = uid
    made.InstanceNumber = index + 1
    made.ImagePositionPatient = [decimal(value) for value in first_mm]
    made.Rows, made.Columns = plane.shape
    made.add_new(0x7FE00010, "OW", np.ascontiguousarray(plane).tobytes())
    return made


def _sources(source: CtReference, first_mm: Floats, step_mm: Floats) -> Sequence[Any]:
    """Return items of the image in a plane, or of all images where none lies in it."""
    parallel = np.abs(source.axes @ (step_mm[0] / np.linalg.norm(step_mm[0])))[2] > 1 - _RIGHT_ANGLE
    along_mm = float(first_mm @ source.axes[2])
    own = source.image_at(along_mm, _SAME_PLANE_MM) if parallel else None
    value, scheme, meaning = _SOURCE_IMAGE
    code = [item_of(CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning=meaning)]
    images = source.headers if own is None else (own,)
    return [refer_to(each.SOPClassUID, each.SOPInstanceUID, PurposeOfReferenceCodeSequence=code) for each in images]
