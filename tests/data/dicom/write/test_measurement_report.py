"""A measurement report with class and probability, read back by highdicom and pydicom."""

import numpy as np
import pydicom
import pytest
from dicom_validity import errors_of
from ultrasound_files import write_us

from ctan_monai.data.dicom.write.image_reference import ImageReference
from ctan_monai.data.dicom.write.image_seg import write_image_seg
from ctan_monai.data.dicom.write.measurement_report import Answer, write_measurement_report

MASK = np.zeros((40, 61), bool)
MASK[5:17, 20:51] = True
MALIGNANT = Answer("malignant", 0.8321, True, "from a probability of 0.43 on")


@pytest.fixture(scope="module")
def highdicom():
    return pytest.importorskip("highdicom", reason="the extra ctan-monai[dicom] is not installed")


def image(tmp_path, frame=0):
    shape = (3, 40, 61) if frame else (40, 61)
    write_us(tmp_path / "us.dcm", np.random.default_rng(1).integers(0, 256, shape).astype(np.uint8))
    return ImageReference.read(tmp_path / "us.dcm", frame)


def texts(item):
    """Return all texts and meanings of codes in a report."""
    found = [str(item[name].value) for name in ("TextValue", "CodeMeaning") if name in item]
    for element in item:
        if element.VR == "SQ":
            found += [text for inside in element.value for text in texts(inside)]
    return found


@pytest.mark.parametrize("frame", [0, 2])
def test_class_probability_and_segment_come_back(highdicom, origin, fixed, tmp_path, frame):
    reference = image(tmp_path, frame)
    seg = write_image_seg({"tumor": MASK}, reference, tmp_path / "seg.dcm", origin, **fixed)
    write_measurement_report([MALIGNANT], reference, tmp_path / "sr.dcm", origin, seg.path, **fixed)
    assert errors_of(tmp_path / "sr.dcm") == []
    report = highdicom.sr.srread(tmp_path / "sr.dcm").content
    (of_image,) = report.get_image_measurement_groups()
    (value,) = of_image.get_measurements()
    assert (value.name.meaning, value.unit.value, float(value.value)) == ("Probability of cancer", "%", 83.21)
    *_, said = of_image.get_qualitative_evaluations()
    assert (said.name.value, said.name.scheme_designator, said.value.meaning) == ("21594007", "SCT", "Yes")
    (source,) = of_image.source_images
    assert source.referenced_sop_instance_uid == reference.header.SOPInstanceUID
    assert source.referenced_frame_numbers == ([2] if frame else None)
    (roi,) = report.get_planar_roi_measurement_groups()
    assert roi.finding_type.meaning == "Neoplasm"
    assert roi.referenced_segmentation_frame.referenced_sop_instance_uid == seg.uid
    plain = pydicom.dcmread(tmp_path / "sr.dcm")
    assert (plain.Modality, plain.ContentTemplateSequence[0].TemplateIdentifier) == ("SR", "1500")
    assert (plain.CompletionFlag, plain.VerificationFlag) == ("PARTIAL", "UNVERIFIED")
    assert plain.StudyInstanceUID == reference.header.StudyInstanceUID
    assert plain.ContentDate + plain.ContentTime == "20240506070809"
    assert {"Yes", "malignant: yes from a probability of 0.43 on"} <= set(texts(plain))
    assert any("not for clinical use" in text for text in texts(plain))


def test_classes_without_a_standard_code_get_a_private_one_and_no_segment_is_needed(highdicom, origin, fixed, tmp_path):
    answers = [
        Answer("benign", 0.3, False, "if it is the most probable class"),
        Answer("a very long name of a class", 0.7, True, "if it is the most probable class"),
    ]
    write_measurement_report(answers, image(tmp_path), tmp_path / "sr.dcm", origin, **fixed)
    assert errors_of(tmp_path / "sr.dcm") == []
    report = highdicom.sr.srread(tmp_path / "sr.dcm").content
    assert report.get_planar_roi_measurement_groups() == []
    (group,) = report.get_image_measurement_groups()
    said = {each.name.meaning: each.value.meaning for each in group.get_qualitative_evaluations()}
    del said["Algorithm Family"]
    assert said == {"Benign": "No", "a very long name of a class": "Yes"}
    values = {each.name.meaning: float(each.value) for each in group.get_measurements()}
    assert values == {"Probability of benign": 30.0, "Probability of a very long name of a class": 70.0}
    schemes = [each.name.scheme_designator for each in group.get_qualitative_evaluations()]
    assert schemes[-2:] == ["SCT", "99CTAN_MONAI"]
