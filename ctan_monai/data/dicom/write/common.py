"""Common parts of written objects: patient and study of the CT, equipment, and files that replace none."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, NamedTuple

from ctan_monai.data.dicom.write.identity import Clock, UidSource
from ctan_monai.data.dicom.write.reference import OPERATOR, SOFTWARE, CtReference, Origin, shortened
from ctan_monai.files.atomic import replacing

IMPLEMENTATION_UID = "2.25.248734501186212790312911894713061208451"  # of this writer, made once at random
_COPIED = (  # Patient and General Study modules
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "PatientBirthDate",
    "PatientSex",
    "PatientAge",
    "PatientSize",
    "PatientWeight",
    "PatientIdentityRemoved",
    "DeidentificationMethod",
    "StudyInstanceUID",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "StudyDescription",
    "AccessionNumber",
    "ReferringPhysicianName",
)
_REQUIRED = (  # those that must be there, if only empty
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID",
    "AccessionNumber", "ReferringPhysicianName",
)  # fmt: skip
_SYNTHETIC_DATA = 0x0008001C
LABEL, LONG = 16, 64  # characters of a short and a long string
Color = tuple[int, int, int]
_PALETTE: tuple[Color, ...] = (
    (64, 224, 208), (250, 128, 114), (138, 43, 226), (154, 205, 50), (255, 182, 193), (70, 130, 180), (218, 165, 32),
)  # fmt: skip
_COLORS: dict[str, Color] = {
    "Rectum": (166, 86, 40),
    "Bladder": (255, 215, 0),
    "Femur_L": (0, 191, 255),
    "Femur_R": (50, 205, 50),
    "CTV": (255, 0, 255),
    "PTV": (255, 0, 0),
    "Prostate": (65, 105, 225),
    "SeminalVes": (255, 140, 0),
    "External": (200, 200, 160),
}
_TYPES = (("EXTERNAL", "EXTERNAL"), ("BODY", "EXTERNAL"), ("PTV", "PTV"), ("CTV", "CTV"), ("GTV", "GTV"))


def new_object(
    sop_class: str, modality: str, reference: CtReference, origin: Origin, clock: Clock, uid_source: UidSource
) -> Any:
    """Create an object of the CT's patient, study and frame of reference, in a series of its own.

    Args:
        sop_class: UID of what it is.
        modality: RTDOSE and the like.
        reference: the CT.
        origin: what makes it.
        clock: tells the time of creation.
        uid_source: gives the UIDs of series and instance.
    """
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ImplicitVRLittleEndian

    made, now = Dataset(), clock()
    made.SpecificCharacterSet = reference.first.get("SpecificCharacterSet") or "ISO_IR 192"
    for name in _COPIED:
        if name in reference.first:
            value = reference.first[name].value
            setattr(made, name, str(value) if reference.first[name].VR == "PN" else value)
    for name in _REQUIRED:
        if name not in made:
            setattr(made, name, "")
    made.SOPClassUID, made.Modality = sop_class, modality
    made.SeriesInstanceUID, made.SOPInstanceUID = uid_source(), uid_source()
    made.InstanceCreationDate = made.SeriesDate = now.strftime("%Y%m%d")
    made.InstanceCreationTime = made.SeriesTime = now.strftime("%H%M%S")
    made.SeriesNumber, made.InstanceNumber = 1, 1
    made.SeriesDescription = shortened(origin.statement, LONG)
    made.OperatorsName = OPERATOR
    made.FrameOfReferenceUID = reference.first.FrameOfReferenceUID
    made.PositionReferenceIndicator = reference.first.get("PositionReferenceIndicator") or ""
    stamp(made, origin)
    if is_synthetic(reference.first):
        mark_synthetic(made)
    made.file_meta = FileMetaDataset()
    made.file_meta.MediaStorageSOPClassUID = sop_class
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    made.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian  # values of 64 kB and more, as long contours are
    made.file_meta.ImplementationClassUID = IMPLEMENTATION_UID
    made.file_meta.ImplementationVersionName = SOFTWARE[:16].upper()
    return made


def with_required(header: Any) -> Any:
    """Add the attributes of patient and study that are of type 2, empty where an anonymized CT lacks them."""
    missing = [name for name in _REQUIRED if name not in header]
    if not missing:
        return header
    filled = copy.deepcopy(header)
    for name in missing:
        setattr(filled, name, "")
    return filled


def stamp(made: Any, origin: Origin) -> None:
    """Set the equipment module to this software, and mark synthetic objects."""
    if origin.synthetic:
        mark_synthetic(made)
    made.Manufacturer = SOFTWARE
    made.ManufacturerModelName = shortened(origin.model, LONG)
    made.SoftwareVersions = shortened(origin.version, LONG)
    made.DeviceSerialNumber = shortened(origin.version, LONG)


def mark_synthetic(made: Any) -> None:
    """Set SyntheticData, which older versions of pydicom cannot name."""
    made.add_new(_SYNTHETIC_DATA, "CS", "YES")


def is_synthetic(header: Any) -> bool:
    """Tell whether an object is marked as SyntheticData."""
    # as bytes where pydicom 2 does not know the tag
    return _SYNTHETIC_DATA in header and header[_SYNTHETIC_DATA].value in ("YES", b"YES ")


def item_of(**values: Any) -> Any:
    """Create an item of a sequence from keywords and values."""
    from pydicom.dataset import Dataset

    item = Dataset()
    for keyword, value in values.items():
        setattr(item, keyword, value)
    return item


def refer_to(sop_class: str, uid: str, **values: Any) -> Any:
    """Create an item that refers to an object, with further keywords and values."""
    return item_of(ReferencedSOPClassUID=sop_class, ReferencedSOPInstanceUID=uid, **values)


def decimal(value: float) -> str:
    """Format a number as a decimal string (DS) of at most 16 characters, with all the digits that fit."""
    texts = (f"{value:.{digits}g}" for digits in range(16, 0, -1))
    return next(text for text in texts if len(text) <= 16)


def save(made: Any, path: Path) -> None:
    """Write an object to a path."""
    import pydicom

    meta = made.file_meta
    meta.FileMetaInformationGroupLength, meta.FileMetaInformationVersion = 0, b"\x00\x01"  # pydicom fills the length
    made.preamble = bytes(128)
    if int(pydicom.__version__.split(".")[0]) < 3:  # MONAI Label's; pydicom 3 reads the transfer syntax
        made.is_little_endian, made.is_implicit_VR = True, meta.TransferSyntaxUID.is_implicit_VR
    pydicom.dcmwrite(path, made)


class Written(NamedTuple):
    """A written file and its SOPInstanceUID."""

    path: Path
    uid: str


def save_new(made: Any, path: str | Path) -> Written:
    """Write an object atomically under a name that is free.

    Args:
        made: the object.
        path: the file; missing folders are created.

    Raises:
        DataError: there is a file of this name, which stays as it is, or it cannot be written.
    """
    path = Path(path)
    with replacing(path, exist_ok=False) as temporary:
        save(made, temporary)
    return Written(path, str(made.SOPInstanceUID))


def color_of(name: str, number: int) -> Color:
    """Return the display color of a structure: the usual one of its name, else one of a palette by its number."""
    return _COLORS.get(name, _PALETTE[number % len(_PALETTE)])


def type_of(name: str) -> str:
    """Return the RTROIInterpretedType of a structure by its TG-263 name; ORGAN unless it is a target or the outline."""
    return next((kind for start, kind in _TYPES if name.upper().startswith(start)), "ORGAN")
