"""Write a synthetic patient as real DICOM objects: CT, RTSTRUCT, RTPLAN and RTDOSE."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ctan_monai import __version__
from ctan_monai.data.dicom.write.common import IMPLEMENTATION_UID, LONG, decimal, save, stamp
from ctan_monai.data.dicom.write.identity import Clock, UidSource
from ctan_monai.data.dicom.write.planes import contours_of_level
from ctan_monai.data.dicom.write.reference import SOFTWARE, CtReference, Origin, shortened
from ctan_monai.data.dicom.write.rtdose import build_rtdose
from ctan_monai.data.dicom.write.rtplan import build_rtplan
from ctan_monai.data.dicom.write.rtstruct import Contour, build_rtstruct
from ctan_monai.data.phantom.patient import Patient
from ctan_monai.errors import DataError
from ctan_monai.files.whole_folder import write_whole

CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
INTERCEPT_HU = -1024
PHANTOM = Origin(
    "SYNTHETIC",
    f"SYNTHETIC phantom by {SOFTWARE} {__version__}, no real patient",
    "synthetic pelvis",
    "Anatomy, CT, contours and dose were computed from random numbers; they are no patient's.",
    synthetic=True,
)


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
    """Return the attributes that all images have in common."""
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


def write_patient_dicom(
    patient: Patient,
    folder: str | Path,
    clock: Clock,
    uid_source: UidSource,
    *,
    number: int = 1,
    names: Mapping[str, str] | None = None,
) -> Path:
    """Write CT.0001.dcm ..., RS.dcm, RP.dcm and RD.dcm.

    Contours are traced along the drawn surfaces, finer than a pixel, as a planning system draws them.

    Args:
        patient: what to write.
        folder: gets its name when all is written; must not exist yet.
        clock: tells the time.
        uid_source: gives UIDs, for example ``SeededUids(seed)``.
        number: of the patient: SYNTHETIC^PHANTOM 003, PHANTOM003.
        names: other names for structures, to try out how names are matched.

    Returns:
        The folder.

    Raises:
        DataError: the folder exists, or cannot be written.
    """
    folder = Path(folder)
    if folder.exists():
        raise DataError(folder, None, "it exists, and is not replaced.", "Give another folder.")
    return write_whole(folder, "RD.dcm", lambda draft: _write(patient, draft, clock, uid_source, number, names or {}))


def _write(
    patient: Patient, folder: Path, clock: Clock, uid_source: UidSource, number: int, names: Mapping[str, str]
) -> None:
    images = []
    series = ct_series(patient, f"SYNTHETIC^PHANTOM {number:03d}", f"PHANTOM{number:03d}", PHANTOM, clock, uid_source)
    for index, image in enumerate(series, start=1):
        save(image, folder / f"CT.{index:04d}.dcm")
        del image.PixelData
        images.append(image)
    reference = CtReference.from_headers(images, folder)
    contours = {names.get(name, name): _contours(patient, name, reference) for name in patient.structures}
    structures = build_rtstruct(contours, reference, PHANTOM, clock=clock, uid_source=uid_source)
    plan = build_rtplan(
        patient.prescription, structures.SOPInstanceUID, reference, PHANTOM, clock=clock, uid_source=uid_source
    )
    dose = build_rtdose(
        patient.dose_gy, patient.dose_affine_ras, reference, PHANTOM,
        plan_uid=str(plan.SOPInstanceUID), bits=16, clock=clock, uid_source=uid_source,
    )  # fmt: skip
    for made, file in ((structures, "RS.dcm"), (plan, "RP.dcm"), (dose, "RD.dcm")):
        save(made, folder / file)


def _contours(patient: Patient, name: str, reference: CtReference) -> list[Contour]:
    """Trace a structure's surface in every slice."""
    (slices, rows, columns), distance = patient.surfaces[name]
    _, row_mm, column_mm = reference.spacing_mm
    found: list[Contour] = []
    for index in np.flatnonzero((distance < 0).any(axis=(1, 2))).tolist():
        image = reference.headers[slices.start + index]
        first_mm = np.array(image.ImagePositionPatient, float)
        level = np.pad(-distance[index], 1, constant_values=-1.0)
        for points in contours_of_level(level, 0.0):
            place = points + np.array([columns.start - 1, rows.start - 1])
            around = np.column_stack([place * (column_mm, row_mm), np.zeros(len(place))])
            found.append((image, first_mm + around))
    return found
