"""A measurement report with class and probability, read back by highdicom and pydicom."""

import numpy as np
import pydicom
import pytest
from dicom_validity import errors_of
from mr_dicom import DicomPatient
from ultrasound_files import write_us

from ctan_monai.data.dicom.write.image_measures import Size
from ctan_monai.data.dicom.write.image_reference import ImageReference
from ctan_monai.data.dicom.write.image_seg import write_image_seg
from ctan_monai.data.dicom.write.measurement_report import Answer, write_measurement_report

MASK = np.zeros((1, 40, 61), bool)
MASK[0, 5:17, 20:51] = True
MALIGNANT = Answer("malignant", 0.8321, True, "from a probability of 0.43 on")


@pytest.fixture(scope="module")
def highdicom():
    return pytest.importorskip("highdicom", reason="the extra ctan-monai[dicom] is not installed")


def image(tmp_path, frames=(), **about):
    shape = (3, 40, 61) if frames else (40, 61)
    write_us(tmp_path / "us.dcm", np.random.default_rng(1).integers(0, 256, shape).astype(np.uint8), **about)
    return ImageReference.read(tmp_path / "us.dcm", frames)


def texts(item):
    """Return all texts and meanings of codes in a report."""
    found = [str(item[name].value) for name in ("TextValue", "CodeMeaning") if name in item]
    for element in item:
        if element.VR == "SQ":
            found += [text for inside in element.value for text in texts(inside)]
    return found


@pytest.mark.parametrize("frame", [0, 2])
def test_class_probability_and_segment_come_back(highdicom, origin, fixed, tmp_path, frame):
    reference = image(tmp_path, [frame] if frame else ())
    seg = write_image_seg({"tumor": MASK}, reference, tmp_path / "seg.dcm", origin, **fixed)
    write_measurement_report([[MALIGNANT]], reference, tmp_path / "sr.dcm", origin, seg.path, **fixed)
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


def test_a_cine_gets_one_report_with_answers_and_regions_of_each_frame(highdicom, origin, fixed, tmp_path):
    reference = image(tmp_path, [1, 3])
    masks = {"tumor": np.concatenate([0 * MASK, MASK]), "lesion": np.concatenate([MASK, MASK])}
    seg = write_image_seg(masks, reference, tmp_path / "seg.dcm", origin, **fixed)
    answers = [[Answer("malignant", value, value > 0.5, "from 0.5 on")] for value in (0.25, 0.75)]
    sizes = [{"lesion": Size(7.0, 3.0)}, {"lesion": Size(8.0, 4.0), "tumor": Size(9.0, 5.0)}]
    write_measurement_report(answers, reference, tmp_path / "sr.dcm", origin, seg.path, sizes=sizes, **fixed)
    assert errors_of(tmp_path / "sr.dcm") == []
    report = highdicom.sr.srread(tmp_path / "sr.dcm").content
    of_frames = report.get_image_measurement_groups()
    assert [each.source_images[0].referenced_frame_numbers for each in of_frames] == [[1], [3]]
    assert [float(each.get_measurements()[0].value) for each in of_frames] == [25.0, 75.0]
    assert [each.get_qualitative_evaluations()[-1].value.meaning for each in of_frames] == ["No", "Yes"]
    assert [each.tracking_identifier for each in of_frames] == ["image, frame 1", "image, frame 3"]
    rois = report.get_planar_roi_measurement_groups()  # of the SEG's frames: tumor at 3, lesion at 1 and 3
    assert [each.tracking_identifier for each in rois] == ["tumor, frame 3", "lesion, frame 1", "lesion, frame 3"]
    assert [float(each.get_measurements()[0].value) for each in rois] == [9.0, 7.0, 8.0]
    assert [list(each.referenced_segmentation_frame.referenced_frame_numbers) for each in rois] == [[1], [2], [3]]
    parts = [each.referenced_segmentation_frame for each in rois]
    assert {part.referenced_sop_instance_uid for part in parts} == {seg.uid}


@pytest.mark.parametrize(("laterality", "side"), [("R", "Right"), (None, None)])
def test_site_side_area_and_longest_diameter_come_back(highdicom, origin, fixed, tmp_path, laterality, side):
    reference = image(tmp_path, **({"Laterality": laterality} if laterality else {}))
    seg = write_image_seg({"tumor": MASK}, reference, tmp_path / "seg.dcm", origin, **fixed)
    known = {"site": "breast", "sizes": [{"tumor": Size(93.004, 14.7)}]}
    write_measurement_report([[MALIGNANT]], reference, tmp_path / "sr.dcm", origin, seg.path, **known, **fixed)
    assert errors_of(tmp_path / "sr.dcm") == []
    report = highdicom.sr.srread(tmp_path / "sr.dcm").content
    (of_image,) = report.get_image_measurement_groups()
    (roi,) = report.get_planar_roi_measurement_groups()
    for group in (of_image, roi):
        (site,) = group.finding_sites
        assert (site.value.value, site.value.meaning) == ("76752008", "Breast")
        assert (site.laterality.meaning if site.laterality else None) == side
    found = {each.name.meaning: (float(each.value), each.unit.value) for each in roi.get_measurements()}
    assert found == {"Area": (93.0, "mm2"), "Long Axis": (14.7, "mm")}


def test_classes_without_a_standard_code_get_a_private_one_and_no_segment_is_needed(highdicom, origin, fixed, tmp_path):
    answers = [
        Answer("benign", 0.3, False, "if it is the most probable class"),
        Answer("a very long name of a class", 0.7, True, "if it is the most probable class"),
    ]
    write_measurement_report([answers], image(tmp_path), tmp_path / "sr.dcm", origin, **fixed)
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


def test_a_report_on_a_ct_series_refers_to_all_its_images(highdicom, origin, fixed, tmp_path):
    patient = DicomPatient(tmp_path)
    files = patient.write("CT", np.zeros((8, 8, 3)), np.diag([-1.0, -1.0, 2.0, 1.0]))
    reference = ImageReference.read(files[1], others=[files[0], files[2]])
    answers = [Answer("covid", 0.25, False, "from a probability of 0.5 on")]
    write_measurement_report([answers], reference, tmp_path / "sr.dcm", origin, site="chest", **fixed)
    assert errors_of(tmp_path / "sr.dcm") == []
    (group,) = highdicom.sr.srread(tmp_path / "sr.dcm").content.get_image_measurement_groups()
    images = {str(pydicom.dcmread(path).SOPInstanceUID) for path in files}
    assert {str(source.referenced_sop_instance_uid) for source in group.source_images} == images
    assert [site.value.meaning for site in group.finding_sites] == ["Chest"]
    plain = pydicom.dcmread(tmp_path / "sr.dcm")
    (study,) = plain.CurrentRequestedProcedureEvidenceSequence
    (series,) = study.ReferencedSeriesSequence
    assert {str(item.ReferencedSOPInstanceUID) for item in series.ReferencedSOPSequence} == images
    assert {"Computed tomography", "COVID-19", "No"} <= set(texts(plain))
    assert "Diagnostic ultrasonography" not in texts(plain)
    assert plain.PatientID == patient.patient_id
