"""The phantom's CT as a DICOM series."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ctan_monai.data.datasets.prostate.phantom.patient import Patient
from ctan_monai.data.dicom.write.common import IMPLEMENTATION_UID, LONG, decimal, stamp
from ctan_monai.data.dicom.write.identity import Clock, UidSource
from ctan_monai.data.dicom.write.origin import SOFTWARE, Origin, shortened

CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
INTERCEPT_HU = -1024


def ct_series(
    patient: Patient, name: str, patient_id: str, origin: Origin, clock: Clock, uid_source: UidSource
) -> Iterator[Any]:
    """Return the CT's images, foot to head, HFS.

    Args:
        patient: what to write.
        name: PatientName.
        patient_id: PatientID.
        origin: what made it.
        clock: tells the time.
        uid_source: gives UIDs.
    """
    shared = _shared(patient, name, patient_id, origin, clock, uid_source)
    stored = patient.ct_hu.transpose(2, 1, 0).astype(np.int32) - INTERCEPT_HU  # (K, R, C)
    z, y, x = patient.ct_axes_mm
    first_mm = [float(x[0]) + patient.origin_lps_mm[0], float(y[0]) + patient.origin_lps_mm[1]]
    for index, plane in enumerate(stored.astype("<u2")):
        yield _image(shared, plane, index, [*first_mm, float(z[index]) + patient.origin_lps_mm[2]], uid_source())


def _shared(patient: Patient, name: str, patient_id: str, origin: Origin, clock: Clock, uid_source: UidSource) -> Any:
    """Return what all images have in common."""
    from pydicom.dataset import Dataset

    now, grid = clock(), patient.grid
    day, time = now.strftime("%Y%m%d"), now.strftime("%H%M%S")
    made = Dataset()
    made.SpecificCharacterSet = "ISO_IR 192"
    made.ImageType = ["DERIVED", "SECONDARY", "AXIAL"]
    made.SOPClassUID, made.Modality = CT_IMAGE, "CT"
    for keyword in ("StudyDate", "SeriesDate", "ContentDate", "InstanceCreationDate"):
        setattr(made, keyword, day)
    for keyword in ("StudyTime", "SeriesTime", "ContentTime", "InstanceCreationTime"):
        setattr(made, keyword, time)
    made.PatientName, made.PatientID = name, patient_id
    made.PatientBirthDate, made.PatientSex = "", "M"
    made.AccessionNumber = made.ReferringPhysicianName = made.PositionReferenceIndicator = ""
    made.StudyID, made.SeriesNumber, made.AcquisitionNumber = "1", 1, 1
    made.StudyInstanceUID, made.SeriesInstanceUID, made.FrameOfReferenceUID = uid_source(), uid_source(), uid_source()
    made.StudyDescription = "SYNTHETIC pelvis, no real patient"
    made.SeriesDescription = shortened(origin.statement, LONG)
    made.ImageComments = made.DerivationDescription = origin.text
    made.BodyPartExamined, made.PatientPosition = "PELVIS", "HFS"
    stamp(made, origin)
    made.KVP = "120"
    made.SliceThickness = decimal(grid.slice_mm)
    made.PixelSpacing = [decimal(grid.row_mm), decimal(grid.column_mm)]
    made.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    made.Rows, made.Columns, made.SamplesPerPixel, made.PhotometricInterpretation = (
        grid.rows, grid.columns, 1, "MONOCHROME2",
    )  # fmt: skip
    made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 16, 12, 11, 0
    made.RescaleIntercept, made.RescaleSlope, made.RescaleType = INTERCEPT_HU, 1, "HU"
    made.WindowCenter, made.WindowWidth = "40", "400"
    return made


def _image(shared: Any, plane: Any, index: int, first_mm: list[float], uid: str) -> Any:
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    made = Dataset()
    made.update(shared)
    made.SOPInstanceUID, made.InstanceNumber = uid, index + 1
    made.ImagePositionPatient = [decimal(round(value, 4)) for value in first_mm]
    made.SliceLocation = decimal(round(first_mm[2], 4))
    made.add_new(0x7FE00010, "OW", plane.tobytes())
    made.file_meta = FileMetaDataset()
    made.file_meta.MediaStorageSOPClassUID, made.file_meta.MediaStorageSOPInstanceUID = CT_IMAGE, uid
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.file_meta.ImplementationClassUID = IMPLEMENTATION_UID
    made.file_meta.ImplementationVersionName = SOFTWARE[:16].upper()
    return made
