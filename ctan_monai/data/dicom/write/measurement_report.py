"""Write the answers about an image as a DICOM SR: a measurement report (TID 1500), through highdicom."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from ctan_monai.data.dicom.read.reading import read_dicom
from ctan_monai.data.dicom.write.common import LONG, Written, is_synthetic, mark_synthetic, save_new, stamp
from ctan_monai.data.dicom.write.identity import Clock, UidSource, new_uid
from ctan_monai.data.dicom.write.image_reference import ImageReference
from ctan_monai.data.dicom.write.reference import SOFTWARE, Origin, shortened
from ctan_monai.data.dicom.write.seg import (
    ARTIFICIAL_INTELLIGENCE,
    Code,
    coded,
    codes_of,
    need_highdicom,
    settle_times,
)

_PRIVATE = "99CTAN_MONAI"  # scheme of classes that no standard code is known for
_SHORT = 16
_CLASSES = {"malignant": Code("21594007", "SCT", "Malignant"), "benign": Code("30807003", "SCT", "Benign")}
_PROBABILITIES = {"malignant": Code("111047", "DCM", "Probability of cancer")}
_YES, _NO = Code("373066001", "SCT", "Yes"), Code("373067005", "SCT", "No")
_PERCENT = Code("%", "UCUM", "Percent")
_PROCEDURE = Code("16310003", "SCT", "Diagnostic ultrasonography")
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
    answers: Sequence[Answer],
    reference: ImageReference,
    path: str | Path,
    origin: Origin,
    seg: str | Path | None = None,
    *,
    clock: Clock = datetime.now,
    uid_source: UidSource = new_uid,
) -> Written:
    """Write a Comprehensive SR with the classes of an image and their probabilities; no file is replaced.

    Of the image each class is a qualitative evaluation, yes or no, and its probability a measurement in percent. Each
    segment of ``seg`` is a planar region of interest. The report is neither complete nor verified.

    Args:
        answers: by class.
        reference: the image.
        path: the file.
        origin: what made the answers.
        seg: file of the SEG that belongs to it, None without.
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
        parameters=[origin.text, *(f"{answer.label}: yes {answer.rule}" for answer in answers)],
        family=coded(highdicom, ARTIFICIAL_INTELLIGENCE),
    )
    image = (reference.header.SOPClassUID, reference.header.SOPInstanceUID, reference.frames)
    groups = [_of_image(highdicom, answers, image, algorithm, uid_source)]
    for segment in () if segmentation is None else segmentation.SegmentSequence:
        groups.append(_region(highdicom, segmentation, segment, image, algorithm, uid_source))
    made = sr.ComprehensiveSR(
        evidence=[reference.header, *([] if segmentation is None else [segmentation])],
        content=sr.MeasurementReport(
            sr.ObservationContext(observer_device_context=_observer(highdicom, origin, uid_source)),
            coded(highdicom, _PROCEDURE),
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


def _of_image(
    highdicom: Any, answers: Sequence[Answer], image: tuple[Any, ...], algorithm: Any, uid_source: UidSource
) -> Any:
    """Return the group of the whole image."""
    sr, percent = highdicom.sr, coded(highdicom, _PERCENT)
    probabilities = [(_concept(highdicom, each.label, True), 100 * each.probability) for each in answers]
    said = [(_concept(highdicom, each.label, False), coded(highdicom, _YES if each.yes else _NO)) for each in answers]
    return sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(uid=uid_source(), identifier="image"),
        algorithm_id=algorithm,
        source_images=[sr.SourceImageForMeasurementGroup(*image)],
        measurements=[sr.Measurement(name, value, percent) for name, value in probabilities],
        qualitative_evaluations=[sr.QualitativeEvaluation(name, value) for name, value in said],
    )


def _region(
    highdicom: Any, segmentation: Any, segment: Any, image: tuple[Any, ...], algorithm: Any, uid_source: UidSource
) -> Any:
    """Return the group of one segment, which has one frame."""
    sr, number = highdicom.sr, int(segment.SegmentNumber)
    frame = sr.ReferencedSegmentationFrame(
        segmentation.SOPClassUID,
        segmentation.SOPInstanceUID,
        frame_number=number,  # of a 2D image each segment has one frame, in their order
        segment_number=number,
        source_image=sr.SourceImageForSegmentation(*image),
    )
    for item in frame:
        for referenced in item.ReferencedSOPSequence:
            if "ReferencedSegmentNumber" in referenced:
                del referenced.ReferencedFrameNumber  # highdicom writes both, PS3.3 C.18.4 allows one
    return sr.PlanarROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(uid=uid_source(), identifier=str(segment.SegmentLabel)),
        referenced_segment=frame,
        finding_type=coded(highdicom, codes_of(str(segment.SegmentLabel))[1]),
        algorithm_id=algorithm,
    )


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
