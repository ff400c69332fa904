"""What a DICOM file says about itself and about the objects it belongs to, without its pixels or contours."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ctan_monai.data.dicom_out.origin import PREDICTED, SOFTWARE

CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
ENHANCED_CT = ("1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.2.2")
RT_DOSE = "1.2.840.10008.5.1.4.1.1.481.2"
RT_STRUCTURE_SET = "1.2.840.10008.5.1.4.1.1.481.3"
RT_PLANS = ("1.2.840.10008.5.1.4.1.1.481.5", "1.2.840.10008.5.1.4.1.1.481.8")  # photons and electrons; ions

_SYNTHETIC_DATA = 0x0008001C  # older versions of pydicom do not know its name
_TAGS = [
    "ImageType",
    "SOPClassUID",
    "SOPInstanceUID",
    _SYNTHETIC_DATA,
    "Modality",
    "Manufacturer",
    "PatientID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "FrameOfReferenceUID",
    "DoseSummationType",
    "DoseComment",
    "RTPlanLabel",
    "StructureSetLabel",
    "StructureSetDate",
    "StructureSetTime",
    "ReferencedFrameOfReferenceSequence",
    "ReferencedRTPlanSequence",
    "ReferencedStructureSetSequence",
]
_DICOMDIR = "1.2.840.10008.1.3.10"
_GROUP_8 = b"\x08\x00"


@dataclass(frozen=True)
class Header:
    """One object.

    Args:
        path: its file.
        kind: CT, RTSTRUCT, RTPLAN or RTDOSE; for anything else its modality in small letters.
        sop_uid: its own UID.
        series_uid: of its series.
        study_uid: of its study.
        frame_uid: of its frame of reference, empty if it names none.
        patient_id: who it is; never written or logged but where the user asks for it.
        date: when a structure set was made, as YYYYMMDDHHMMSS; empty if not said.
        summation: DoseSummationType of a dose.
        localizer: a scout view, not a slice.
        synthetic: SyntheticData says that no patient was imaged.
        predicted: a network of this software made it.
        images: images that it refers to, by their series.
        frames: frames of reference that it refers to.
        plans: plans that it refers to.
        structure_sets: structure sets that it refers to.
    """

    path: Path
    kind: str
    sop_uid: str
    series_uid: str
    study_uid: str
    frame_uid: str
    patient_id: str
    date: str = ""
    summation: str = ""
    localizer: bool = False
    synthetic: bool = False
    predicted: bool = False
    images: Mapping[str, frozenset[str]] = field(default_factory=dict)
    frames: frozenset[str] = frozenset()
    plans: tuple[str, ...] = ()
    structure_sets: tuple[str, ...] = ()


def read_header(path: str | Path) -> Header | None:
    """Read the header of a file.

    Args:
        path: any file; its name says nothing.

    Returns:
        What it says, or None if it is not DICOM (or a DICOMDIR, which only lists others).

    Raises:
        OSError: it cannot be read.
        ValueError: it begins like DICOM but cannot be understood; the message says why.
    """
    path = Path(path)
    looks = _looks_like_dicom(path)
    if looks is None:
        return None
    import pydicom

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom's quote the values they complain about
            dataset = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=_TAGS, force=looks == "bare")
            return _header(path, dataset)
    except OSError:
        raise
    except Exception as error:  # damaged files make pydicom raise almost anything
        if looks == "bare":
            return None
        raise ValueError(f"its header cannot be read ({type(error).__name__})") from error


def _looks_like_dicom(path: Path) -> str | None:
    """Return 'whole' for a file with DICOM's preamble, 'bare' if it may be a data set without one."""
    with path.open("rb") as file:
        front = file.read(132)
    if front[128:] == b"DICM":
        return "whole"
    return "bare" if front[:2] == _GROUP_8 and front[3:4] == b"\x00" else None


def _header(path: Path, dataset: Any) -> Header | None:
    sop_class = str(dataset.get("SOPClassUID", ""))
    if not sop_class or not dataset.get("SOPInstanceUID"):
        if str(dataset.file_meta.get("MediaStorageSOPClassUID", "")) == _DICOMDIR:
            return None
        raise ValueError("it does not say what it is; it may be cut short")
    frames = list(dataset.get("ReferencedFrameOfReferenceSequence") or [])
    series = [item for frame in frames for item in _referenced_series(frame)]
    image_type = dataset.get("ImageType") or []
    return Header(
        path=path,
        kind=_kind(sop_class, str(dataset.get("Modality", ""))),
        sop_uid=str(dataset.SOPInstanceUID),
        series_uid=str(dataset.get("SeriesInstanceUID", "")),
        study_uid=str(dataset.get("StudyInstanceUID", "")),
        frame_uid=str(dataset.get("FrameOfReferenceUID", "")),
        patient_id=str(dataset.get("PatientID", "") or "").strip(),
        date=f"{dataset.get('StructureSetDate', '') or ''}{dataset.get('StructureSetTime', '') or ''}",
        summation=str(dataset.get("DoseSummationType", "") or "").upper(),
        localizer="LOCALIZER" in list(image_type),
        predicted=_is_predicted(dataset),
        synthetic=_SYNTHETIC_DATA in dataset and str(dataset[_SYNTHETIC_DATA].value).upper() == "YES",
        images={
            str(item.get("SeriesInstanceUID", "")): frozenset(_instances(item.get("ContourImageSequence")))
            for item in series
        },
        frames=frozenset(str(frame.get("FrameOfReferenceUID", "")) for frame in frames) - {""},
        plans=tuple(_instances(dataset.get("ReferencedRTPlanSequence"))),
        structure_sets=tuple(_instances(dataset.get("ReferencedStructureSetSequence"))),
    )


def _is_predicted(dataset: Any) -> bool:
    """Tell what ``dicom_out`` wrote as predicted from what a clinic, or a phantom, has."""
    labels = [str(dataset.get(name, "") or "") for name in ("StructureSetLabel", "RTPlanLabel", "DoseComment")]
    return dataset.get("Manufacturer") == SOFTWARE and any(label.upper().startswith(PREDICTED) for label in labels)


def _kind(sop_class: str, modality: str) -> str:
    kinds = {CT_IMAGE: "CT", RT_STRUCTURE_SET: "RTSTRUCT", RT_DOSE: "RTDOSE", **dict.fromkeys(RT_PLANS, "RTPLAN")}
    kinds.update(dict.fromkeys(ENHANCED_CT, "enhanced ct"))
    found = modality.lower() or "unknown"
    # A report or screenshot of modality CT is no slice.
    return kinds.get(sop_class, f"{found} that is no slice" if found == "ct" else found)


def _referenced_series(frame: Any) -> list[Any]:
    studies = list(frame.get("RTReferencedStudySequence") or [])
    return [series for study in studies for series in study.get("RTReferencedSeriesSequence") or []]


def _instances(sequence: Iterable[Any] | None) -> list[str]:
    return [str(item.ReferencedSOPInstanceUID) for item in sequence or [] if item.get("ReferencedSOPInstanceUID")]
