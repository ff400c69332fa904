"""Headers of DICOM files and their references, without pixels or contours."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ctan_monai.data.dicom.read.reading import read_dicom
from ctan_monai.data.dicom.read.recognize import look_at
from ctan_monai.data.dicom.write.reference import PREDICTED, SOFTWARE

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
    "SeriesDescription",
    "SeriesNumber",
    "Manufacturer",
    "PatientID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "FrameOfReferenceUID",
    "DoseSummationType",
    "DoseComment",
    "RTPlanLabel",
    "StructureSetLabel",
    "ApprovalStatus",
    "StructureSetDate",
    "StructureSetTime",
    "ReferencedFrameOfReferenceSequence",
    "ReferencedRTPlanSequence",
    "ReferencedStructureSetSequence",
    "StructureSetROISequence",
]
_FRAMES, _FRAME_OF_ROI = "ReferencedFrameOfReferenceSequence", "ReferencedFrameOfReferenceUID"
_DICOMDIR = "1.2.840.10008.1.3.10"
_PIXEL_KINDS = ("CT", "RTDOSE")


@dataclass(frozen=True)
class Header:
    """The header of a DICOM object.

    Args:
        path: its file.
        kind: CT, RTSTRUCT, RTPLAN or RTDOSE; for anything else its modality in small letters.
        sop_uid: its own UID.
        series_uid: of its series.
        study_uid: of its study.
        frame_uid: of its frame of reference, empty if it names none.
        patient_id: who it is; never written or logged but where the user asks for it.
        date: when a structure set was made, as YYYYMMDDHHMMSS; empty if not said.
        label: StructureSetLabel; may identify somebody, too.
        approved: its ApprovalStatus is APPROVED.
        summation: DoseSummationType of a dose.
        localizer: a scout view, not a slice.
        synthetic: SyntheticData says that no patient was imaged.
        predicted: a network of this software made it.
        description: SeriesDescription; may identify somebody, as all that people type.
        number: SeriesNumber, empty if it has none.
        images: images that it refers to, by their series; by frame of reference where only contours name them.
        frames: frames of reference that it refers to.
        frame_images: images that it refers to, by frame of reference.
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
    label: str = ""
    approved: bool = False
    summation: str = ""
    localizer: bool = False
    synthetic: bool = False
    predicted: bool = False
    description: str = ""
    number: str = ""
    images: Mapping[str, frozenset[str]] = field(default_factory=dict)
    frames: frozenset[str] = frozenset()
    frame_images: Mapping[str, frozenset[str]] = field(default_factory=dict)
    plans: tuple[str, ...] = ()
    structure_sets: tuple[str, ...] = ()

    def is_called(self, series: str | None) -> bool:
        """Tell whether its series has this SeriesDescription, in any case, or SeriesNumber; True for None."""
        return series is None or series.lower() in (self.description.lower(), self.number)


def read_header(path: str | Path) -> Header | None:
    """Read the header of a file.

    Args:
        path: any file; its name says nothing.

    Returns:
        What it says, or None if it is not DICOM (or a DICOMDIR, which only lists others).

    Raises:
        OSError: it cannot be read.
        ValueError: it looks like DICOM but cannot be understood; the message says why.
    """
    path = Path(path)
    looks = look_at(path)
    if not looks:
        return None
    try:
        with warnings.catch_warnings(), path.open("rb") as file:
            warnings.simplefilter("ignore")  # pydicom's quote the values they complain about
            dataset = read_dicom(file, stop_before_pixels=True, specific_tags=_TAGS)
            size, at = path.stat().st_size, file.tell()
            header = _header(path, dataset, looks)
    except EOFError as error:
        raise ValueError("it is cut short: a value ends early") from error
    except OSError as error:
        if error.errno is not None:
            raise
        raise ValueError("it is cut short within a sequence") from error
    except _HeaderError as error:
        raise ValueError(str(error)) from error
    except Exception as error:  # damaged files make pydicom raise almost anything
        raise ValueError(f"its header cannot be read ({type(error).__name__})") from error
    if header is not None and _lost_its_links(header, at >= size if header.kind in _PIXEL_KINDS else at > size):
        raise ValueError(f"it is a {header.kind} that is cut short before it says what it belongs to")
    return header


class _HeaderError(Exception):
    """Error in a header, in words that quote nothing of it."""


def _lost_its_links(header: Header, cut: bool) -> bool:
    """Tell whether a truncated file lacks its references; others are refused when they are read."""
    if header.kind == "CT":
        return cut and not header.series_uid
    links = (header.images, header.frames, header.plans, header.structure_sets)
    return cut and header.kind in ("RTSTRUCT", "RTPLAN", "RTDOSE") and not any(links)


def _header(path: Path, dataset: Any, looks: str) -> Header | None:
    sop_class = str(dataset.get("SOPClassUID", "") or "")
    lacking = [name for name in ("SOPClassUID", "SOPInstanceUID") if not dataset.get(name)]
    if lacking:
        if str(dataset.file_meta.get("MediaStorageSOPClassUID", "")) == _DICOMDIR:
            return None
        begins = "it begins like DICOM" + ("" if looks == "whole" else " without preamble")
        raise _HeaderError(f"{begins}, but has no {' and no '.join(lacking)}; it may be cut short")
    image_type = dataset.get("ImageType") or []
    return Header(
        path=path,
        kind=_kind(sop_class, str(dataset.get("Modality", ""))),
        sop_uid=str(dataset.SOPInstanceUID),
        series_uid=str(dataset.get("SeriesInstanceUID", "") or ""),
        study_uid=str(dataset.get("StudyInstanceUID", "") or ""),
        frame_uid=str(dataset.get("FrameOfReferenceUID", "") or ""),
        patient_id=str(dataset.get("PatientID", "") or "").strip(),
        date=f"{dataset.get('StructureSetDate', '') or ''}{dataset.get('StructureSetTime', '') or ''}",
        label=str(dataset.get("StructureSetLabel", "") or "").strip(),
        approved=str(dataset.get("ApprovalStatus", "") or "").upper() == "APPROVED",
        summation=str(dataset.get("DoseSummationType", "") or "").upper(),
        localizer="LOCALIZER" in list(image_type),
        predicted=_is_predicted(dataset),
        description=str(dataset.get("SeriesDescription", "") or "").strip(),
        number=str(dataset.get("SeriesNumber", "") or ""),
        synthetic=_SYNTHETIC_DATA in dataset and str(dataset[_SYNTHETIC_DATA].value).upper() == "YES",
        plans=tuple(_instances(dataset.get("ReferencedRTPlanSequence"))),
        structure_sets=tuple(_instances(dataset.get("ReferencedStructureSetSequence"))),
        **(_drawn_on(path, dataset) if sop_class == RT_STRUCTURE_SET else {}),
    )


def _drawn_on(path: Path, dataset: Any) -> dict[str, Any]:
    """Return the images and frames of reference that a structure set refers to anywhere.

    ReferencedFrameOfReferenceSequence is optional (type 3); without it contours name their images, and structures
    their frame of reference.
    """
    images: dict[str, set[str]] = defaultdict(set)
    by_frame: dict[str, set[str]] = defaultdict(set)
    frames = [str(each.get("FrameOfReferenceUID", "") or "") for each in dataset.get(_FRAMES) or []]
    for uid, frame in zip(frames, dataset.get(_FRAMES) or [], strict=True):
        for series in _referenced_series(frame):
            found = _instances(series.get("ContourImageSequence"))
            images[str(series.get("SeriesInstanceUID", "") or "")].update(found)
            by_frame[uid].update(found)
    structures = list(dataset.get("StructureSetROISequence") or [])
    frame_of = {str(each.get("ROINumber")): str(each.get(_FRAME_OF_ROI, "") or "") for each in structures}
    if not any(images.values()):
        by_frame = _images_of_contours(path, frame_of)
        images.update(by_frame)
    known = (
        {*frames} - {""} or {*frame_of.values()} - {""} or {str(dataset.get("FrameOfReferenceUID", "") or "")} - {""}
    )
    return {
        "images": {uid: frozenset(found) for uid, found in images.items()},
        "frame_images": {uid: frozenset(found) for uid, found in by_frame.items()},
        "frames": frozenset(known),
    }


def _images_of_contours(path: Path, frame_of: Mapping[str, str]) -> dict[str, set[str]]:
    """Return the images that contours refer to, by the frame of reference of their structures."""
    found: dict[str, set[str]] = defaultdict(set)
    dataset = read_dicom(path, specific_tags=["ROIContourSequence"])
    for drawn in dataset.get("ROIContourSequence") or []:
        frame = frame_of.get(str(drawn.get("ReferencedROINumber")), "")
        for contour in drawn.get("ContourSequence") or []:
            if named := _instances(contour.get("ContourImageSequence")):
                found[frame].update(named)
    return found


def kind_of(modality: str) -> str:
    """Return the kind of a modality's planning images: CT, or mr."""
    return modality if modality == "CT" else modality.lower()


def _is_predicted(dataset: Any) -> bool:
    """Tell whether an object is a prediction that this package wrote."""
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
