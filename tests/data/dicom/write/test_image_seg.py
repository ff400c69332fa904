"""A SEG of an ultrasound image or a frame of a cine, read back by highdicom and pydicom."""

import numpy as np
import pydicom
import pytest
from dicom_validity import errors_of
from ultrasound_files import write_us

from ctan_monai.data.dicom.write import SeededUids
from ctan_monai.data.dicom.write.image_reference import ImageReference
from ctan_monai.data.dicom.write.image_seg import write_image_seg
from ctan_monai.errors import DataError

RNG = np.random.default_rng(1)
MASK = np.zeros((40, 61), bool)
MASK[5:17, 20:51] = True


@pytest.fixture(scope="module")
def highdicom():
    return pytest.importorskip("highdicom", reason="the extra ctan-monai[dicom] is not installed")


@pytest.fixture
def reference(tmp_path):
    """Return a function that writes an image, or a cine, and reads its header."""

    def make(frame=0, **about):
        shape = (3, 40, 61) if frame else (40, 61)
        write_us(tmp_path / "us.dcm", RNG.integers(0, 256, shape).astype(np.uint8), **about)
        return ImageReference.read(tmp_path / "us.dcm", frame)

    return make


@pytest.mark.parametrize("frame", [0, 2])
def test_masks_come_back_on_the_pixels_of_the_image_or_frame(highdicom, reference, origin, fixed, tmp_path, frame):
    image = reference(frame)
    masks = {"tumor": MASK, "none": np.zeros_like(MASK), "lesion": np.roll(MASK, 3, axis=0)}
    write_image_seg(masks, image, tmp_path / "s.dcm", origin, **fixed)
    read = highdicom.seg.segread(tmp_path / "s.dcm")
    uid = image.header.SOPInstanceUID
    found = (
        read.get_pixels_by_source_frame(uid, [frame]) if frame else read.get_pixels_by_source_instance([uid])
    )  # (1, R, C, L)
    assert found.shape == (1, 40, 61, 2)
    assert np.array_equal(found[0, ..., 0].astype(bool), MASK)
    assert np.array_equal(found[0, ..., 1].astype(bool), masks["lesion"])
    plain = pydicom.dcmread(tmp_path / "s.dcm")
    assert np.array_equal(plain.pixel_array[0].astype(bool), MASK)
    assert [item.SegmentLabel for item in plain.SegmentSequence] == ["tumor", "lesion"]
    assert plain.SegmentSequence[0].SegmentedPropertyTypeCodeSequence[0].CodeMeaning == "Neoplasm"
    assert (plain.PatientID, plain.StudyInstanceUID) == ("p 1", image.header.StudyInstanceUID)
    assert "not for clinical use" in plain.ContentDescription
    source = plain.PerFrameFunctionalGroupsSequence[0].DerivationImageSequence[0].SourceImageSequence[0]
    assert (source.ReferencedSOPInstanceUID, source.ReferencedSOPClassUID) == (uid, image.header.SOPClassUID)
    assert source.get("ReferencedFrameNumber") == (frame or None)
    assert errors_of(tmp_path / "s.dcm") == []


def test_the_same_clock_and_uids_write_the_same_bytes(highdicom, reference, origin, fixed, tmp_path):
    image = reference()
    for name in "ab":
        given = {"clock": fixed["clock"], "uid_source": SeededUids(7)}
        write_image_seg({"tumor": MASK}, image, tmp_path / name, origin, **given)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_masks_of_another_size_and_nothing_at_all_are_refused(highdicom, reference, origin, tmp_path):
    image = reference()
    with pytest.raises(DataError, match=r"mask tumor: it has the shape \(61, 40\), its image \(40, 61\)"):
        write_image_seg({"tumor": MASK.T}, image, tmp_path / "s.dcm", origin)
    with pytest.raises(DataError, match="holds a pixel"):
        write_image_seg({"tumor": np.zeros_like(MASK)}, image, tmp_path / "s.dcm", origin)


def test_an_image_with_a_frame_of_reference_or_without_a_patient_gets_one_too(highdicom, reference, origin, tmp_path):
    nobody = dict.fromkeys(
        ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "AccessionNumber")
    )
    image = reference(FrameOfReferenceUID="1.2.3", PositionReferenceIndicator="", **nobody)
    write_image_seg({"tumor": MASK}, image, tmp_path / "s.dcm", origin)
    made = pydicom.dcmread(tmp_path / "s.dcm")
    assert [str(made[name].value or "") for name in nobody] == [""] * len(nobody)
    assert errors_of(tmp_path / "s.dcm") == []


def test_a_header_without_uids_is_refused_by_name(reference):
    with pytest.raises(DataError, match=r"us.dcm: it has no StudyInstanceUID"):
        reference(StudyInstanceUID=None)
