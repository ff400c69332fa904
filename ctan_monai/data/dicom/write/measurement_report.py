"""Write the answers about an image, a cine or a series as a DICOM SR: a measurement report (TID 1500) by highdicom."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from ctan_monai.data.dicom.read.reading import read_dicom
from ctan_monai.data.dicom.write.common import LONG, Written, is_synthetic, mark_synthetic, save_new, stamp
from ctan_monai.data.dicom.write.identity import Clock, UidSource, new_uid
from ctan_monai.data.dicom.write.image_measures import Size, side_of
from ctan_monai.data.dicom.write.image_reference import ImageReference
from ctan_monai.data.dicom.write.reference import SOFTWARE, Origin, shortened
from ctan_monai.data.dicom.write.seg import (
    ARTIFICIAL_INTELLIGENCE,
    LEFT,
    RIGHT,
    Code,
    coded,
    codes_of,
    need_highdicom,
    settle_times,
)

_PRIVATE = "99CTAN_MONAI"  # scheme of classes that no standard code is known for
_SHORT = 16
_CLASSES = {
    "malignant": Code("21594007", "SCT", "Malignant"),
    "benign": Code("30807003", "SCT", "Benign"),
    "covid": Code("840539006", "SCT", "COVID-19"),
}
_PROBABILITIES = {"malignant": Code("111047", "DCM", "Probability of cancer")}
_YES, _NO = Code("373066001", "SCT", "Yes"), Code("373067005", "SCT", "No")
_PERCENT = Code("%", "UCUM", "Percent")
_MM, _MM2 = Code("mm", "UCUM", "millimeter"), Code("mm2", "UCUM", "square millimeter")
_AREA, _DIAMETER = Code("42798000", "SCT", "Area"), Code("103339001", "SCT", "Long Axis")
_SIDES = {"L": LEFT, "R": RIGHT}
SITES = {"breast": Code("76752008", "SCT", "Breast"), "chest": Code("51185008", "SCT", "Chest")}
_PROCEDURES = {"CT": Code("77477000", "SCT", "Computed tomography")}
_ULTRASOUND = Code("16310003", "SCT", "Diagnostic ultrasonography")
_TITLE = Code("126000", "DCM", "Imaging Measurement Report")
_DEVICE = Code("121007", "DCM", "Device")


class Answer(NamedTuple):
    """What a network says about a class of the whole image.

    Args:
        label: the class.
        probability: from 0 to 1.
        yes: whether the image is called so.
        rule: in words, for example 'from a probability of 0.43 on'.
    """

    label: str
    probability: float
    yes: bool
    rule: str


def write_measurement_report(
    answers: Sequence[Sequence[Answer]],
    reference: ImageReference,
    path: str | Path,
    origin: Origin,
    seg: str | Path | None = None,
    *,
    site: str | None = None,
    sizes: Sequence[Mapping[str, Size]] = (),
    clock: Clock = datetime.now,
    uid_source: UidSource = new_uid,
) -> Written:
    """Write a Comprehensive SR with the classes of an image and their probabilities; no file is replaced.

    Of the image, of each frame of a cine, or of a series as a whole, each class is a qualitative evaluation, yes or no,
    and its probability a measurement in percent. Each frame of ``seg`` is a planar region of interest, with its area
    and longest diameter where they are known. The report is neither complete nor verified.

    Args:
        answers: by class, of the image, or of each of the reference's frames.
        reference: the image, or the images of a series.
        path: the file.
        origin: what made the answers.
        seg: file of the SEG that belongs to it, None without.
        site: the finding site, one of `SITES`; its side is the image's, if its header says one. None: not said.
        sizes: of the segments, by name, as the answers of the image or of each frame; none if they are not known.
        clock: tells the time.
        uid_source: gives UIDs.

    Raises:
        ConfigError: highdicom is not installed.
        DataError: the file exists or cannot be written.
    """
    highdicom = need_highdicom()
    sr = highdicom.sr
    segmentation = None if seg is None else read_dicom(seg)
    algorithm = sr.AlgorithmIdentification(
        name=shortened(origin.model, LONG),
        version=origin.version,
        parameters=[origin.text, *(f"{answer.label}: yes {answer.rule}" for answer in answers[0])],
        family=coded(highdicom, ARTIFICIAL_INTELLIGENCE),
    )
    about = {"algorithm_id": algorithm, "finding_sites": _sites(highdicom, site, reference)}
    numbers = reference.frames or (0,)
    groups = [
        _of_image(highdicom, said, _sources(reference, number), about, uid_source)
        for number, said in zip(numbers, answers, strict=True)
    ]
    for at, (segment, number) in enumerate(_shown(segmentation, reference), 1):
        size = sizes[numbers.index(number)].get(str(segment.SegmentLabel)) if sizes else None
        place = (at if number else None, segment, _source(reference, number))
        groups.append(_region(highdicom, segmentation, *place, {**about, "measurements": _size(highdicom, size)},
                              uid_source))  # fmt: skip
    made = sr.ComprehensiveSR(
        evidence=[reference.header, *reference.others, *([] if segmentation is None else [segmentation])],
        content=sr.MeasurementReport(
            sr.ObservationContext(observer_device_context=_observer(highdicom, origin, uid_source)),
            coded(highdicom, _PROCEDURES.get(str(reference.header.get("Modality")), _ULTRASOUND)),
            groups,
            title=coded(highdicom, _TITLE),
        ),
        series_instance_uid=uid_source(),
        series_number=1,
        sop_instance_uid=uid_source(),
        instance_number=1,
        manufacturer=SOFTWARE,
        series_description=shortened(origin.statement, LONG),
    )
    settle_times(made, clock)
    stamp(made, origin)
    if is_synthetic(reference.header):
        mark_synthetic(made)
    return save_new(made, path)


def _source(reference: ImageReference, number: int) -> tuple[Any, ...]:
    """Return class, UID and frames that refer to the image, or to a frame of it."""
    return reference.header.SOPClassUID, reference.header.SOPInstanceUID, [number] if number else None


def _sources(reference: ImageReference, number: int) -> list[tuple[Any, ...]]:
    """Return what refers to the image, or to a frame of it, and to the other images of its series."""
    others = [(header.SOPClassUID, header.SOPInstanceUID, None) for header in reference.others]
    return [_source(reference, number), *others]


def _shown(segmentation: Any, reference: ImageReference) -> list[tuple[Any, int]]:
    """Return the segment of each frame of a SEG, and the number of the cine's frame that it lies on, 0 of an image."""
    if segmentation is None:
        return []
    segments, (shared,) = list(segmentation.SegmentSequence), segmentation.SharedFunctionalGroupsSequence
    found = []
    for group in segmentation.PerFrameFunctionalGroupsSequence:
        named = group if "SegmentIdentificationSequence" in group else shared  # of one segment
        number = int(named.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
        source = group.DerivationImageSequence[0].SourceImageSequence[0]
        found.append((segments[number - 1], int(source.ReferencedFrameNumber) if reference.frames else 0))
    return found


def _named(name: str, image: tuple[Any, ...]) -> str:
    """Return what a group is tracked by: a name, and of a cine the frame."""
    return f"{name}, frame {image[2][0]}" if image[2] else name


def _of_image(
    highdicom: Any,
    answers: Sequence[Answer],
    images: Sequence[tuple[Any, ...]],
    about: Mapping[str, Any],
    uid_source: UidSource,
) -> Any:
    """Return the group of the whole image, of a whole frame, or of a whole series."""
    sr, percent = highdicom.sr, coded(highdicom, _PERCENT)
    probabilities = [(_concept(highdicom, each.label, True), 100 * each.probability) for each in answers]
    said = [(_concept(highdicom, each.label, False), coded(highdicom, _YES if each.yes else _NO)) for each in answers]
    return sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(uid=uid_source(), identifier=_named("image", images[0])),
        **about,
        source_images=[sr.SourceImageForMeasurementGroup(*image) for image in images],
        measurements=[sr.Measurement(name, value, percent) for name, value in probabilities],
        qualitative_evaluations=[sr.QualitativeEvaluation(name, value) for name, value in said],
    )


def _region(
    highdicom: Any,
    segmentation: Any,
    at: int | None,
    segment: Any,
    image: tuple[Any, ...],
    about: Mapping[str, Any],
    uid_source: UidSource,
) -> Any:
    """Return the group of a frame of a SEG: by its number, ``at``, of a cine; else by its segment, which has one."""
    sr, number = highdicom.sr, int(segment.SegmentNumber)
    frame = sr.ReferencedSegmentationFrame(
        segmentation.SOPClassUID,
        segmentation.SOPInstanceUID,
        frame_number=at or number,  # of a plain image each segment has one frame, in their order
        segment_number=number,
        source_image=sr.SourceImageForSegmentation(*image),
    )
    for item in frame:
        for referenced in item.ReferencedSOPSequence:
            if "ReferencedSegmentNumber" in referenced:
                # highdicom writes both, PS3.3 C.18.4 allows one
                del referenced["ReferencedSegmentNumber" if at else "ReferencedFrameNumber"]
    return sr.PlanarROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(
            uid=uid_source(), identifier=_named(str(segment.SegmentLabel), image)
        ),
        referenced_segment=frame,
        finding_type=coded(highdicom, codes_of(str(segment.SegmentLabel))[1]),
        **about,
    )


def _sites(highdicom: Any, site: str | None, reference: ImageReference) -> Any:
    """Return the finding site with its side, None if it is not said."""
    if site is None:
        return None
    side = _SIDES.get(side_of(reference.header) or "")
    return [highdicom.sr.FindingSite(coded(highdicom, SITES[site]), side and coded(highdicom, side))]


def _size(highdicom: Any, size: Size | None) -> Any:
    """Return area and longest diameter as measurements, None if they are not known."""
    if size is None:
        return None
    values = ((_AREA, size.area_mm2, _MM2), (_DIAMETER, size.diameter_mm, _MM))
    return [highdicom.sr.Measurement(coded(highdicom, name), round(value, 2), coded(highdicom, unit))
            for name, value, unit in values]  # fmt: skip


def _observer(highdicom: Any, origin: Origin, uid_source: UidSource) -> Any:
    sr = highdicom.sr
    device = sr.DeviceObserverIdentifyingAttributes(
        uid=uid_source(),
        name=SOFTWARE,
        manufacturer_name=SOFTWARE,
        model_name=shortened(origin.model, LONG),
        serial_number=origin.version,
    )
    return sr.ObserverContext(coded(highdicom, _DEVICE), device)


def _concept(highdicom: Any, label: str, probability: bool) -> Any:
    """Return the code of a class, or of its probability; a private one where no standard code is known."""
    known = (_PROBABILITIES if probability else _CLASSES).get(label.lower())
    if known is None:
        meaning = shortened(f"Probability of {label}" if probability else label, LONG)
        value = meaning if len(meaning) <= _SHORT else hashlib.sha256(meaning.encode()).hexdigest()[:_SHORT]
        known = Code(value, _PRIVATE, meaning)
    return coded(highdicom, known)
