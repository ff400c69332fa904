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
MASK = np.zeros((1, 40, 61), bool)
MASK[0, 5:17, 20:51] = True


@pytest.fixture(scope="module")
def highdicom():
    return pytest.importorskip("highdicom", reason="the extra ctan-monai[dicom] is not installed")


@pytest.fixture
def reference(tmp_path):
    """Return a function that writes an image, or a cine, and reads its header."""

    def make(frames=(), **about):
        shape = (9, 40, 61) if frames else (40, 61)
        write_us(tmp_path / "us.dcm", RNG.integers(0, 256, shape).astype(np.uint8), **about)
        return ImageReference.read(tmp_path / "us.dcm", frames)

    return make


@pytest.mark.parametrize("frame", [0, 2])
def test_masks_come_back_on_the_pixels_of_the_image_or_frame(highdicom, reference, origin, fixed, tmp_path, frame):
    image = reference([frame] if frame else ())
    masks = {"tumor": MASK, "none": np.zeros_like(MASK), "lesion": np.roll(MASK, 3, axis=1)}
    write_image_seg(masks, image, tmp_path / "s.dcm", origin, **fixed)
    read = highdicom.seg.segread(tmp_path / "s.dcm")
    uid = image.header.SOPInstanceUID
    found = (
        read.get_pixels_by_source_frame(uid, [frame]) if frame else read.get_pixels_by_source_instance([uid])
    )  # (1, R, C, L)
    assert found.shape == (1, 40, 61, 2)
    assert np.array_equal(found[..., 0].astype(bool), MASK)
    assert np.array_equal(found[..., 1].astype(bool), masks["lesion"])
    plain = pydicom.dcmread(tmp_path / "s.dcm")
    assert np.array_equal(plain.pixel_array[:1].astype(bool), MASK)
    assert [item.SegmentLabel for item in plain.SegmentSequence] == ["tumor", "lesion"]
    assert plain.SegmentSequence[0].SegmentedPropertyTypeCodeSequence[0].CodeMeaning == "Neoplasm"
    assert (plain.PatientID, plain.StudyInstanceUID) == ("p 1", image.header.StudyInstanceUID)
    assert "not for clinical use" in plain.ContentDescription
    source = plain.PerFrameFunctionalGroupsSequence[0].DerivationImageSequence[0].SourceImageSequence[0]
    assert (source.ReferencedSOPInstanceUID, source.ReferencedSOPClassUID) == (uid, image.header.SOPClassUID)
    assert source.get("ReferencedFrameNumber") == (frame or None)
    assert errors_of(tmp_path / "s.dcm") == []


def test_a_cine_gets_one_seg_with_a_frame_for_each_mask_that_refers_to_its_frame(
    highdicom, reference, origin, fixed, tmp_path
):
    numbers = [2, 3, 5, 9]
    image = reference(numbers)
    masks = {name: RNG.integers(0, 2, (4, 40, 61)).astype(bool) for name in ("tumor", "lesion")}
    masks["tumor"][1], masks["lesion"][:3] = False, False
    write_image_seg({**masks, "none": np.zeros((4, 40, 61), bool)}, image, tmp_path / "s.dcm", origin, **fixed)
    uid = image.header.SOPInstanceUID
    read = highdicom.seg.segread(tmp_path / "s.dcm")
    found = read.get_pixels_by_source_frame(uid, numbers, assert_missing_frames_are_empty=True)  # (4, R, C, 2)
    assert np.array_equal(found.astype(bool), np.stack(list(masks.values()), axis=-1))
    plain = pydicom.dcmread(tmp_path / "s.dcm")
    groups = plain.PerFrameFunctionalGroupsSequence
    assert (plain.NumberOfFrames, len(groups), plain.pixel_array.shape) == (4, 4, (4, 40, 61))
    of_frames = [
        (
            group.SegmentIdentificationSequence[0].ReferencedSegmentNumber,
            group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedFrameNumber,
            group.FrameContentSequence[0].TemporalPositionIndex,
            list(group.FrameContentSequence[0].DimensionIndexValues),
        )
        for group in groups
    ]
    assert of_frames == [(1, 2, 2, [1, 2]), (1, 5, 5, [1, 5]), (1, 9, 9, [1, 9]), (2, 9, 9, [2, 9])]
    assert np.array_equal(plain.pixel_array[2].astype(bool), masks["tumor"][3])
    assert list(plain.SourceImageSequence[0].ReferencedFrameNumber) == numbers
    assert plain.SourceImageSequence[0].ReferencedSOPClassUID == image.header.SOPClassUID
    assert "FrameOfReferenceUID" not in plain
    assert errors_of(tmp_path / "s.dcm") == []


def test_the_same_clock_and_uids_write_the_same_bytes(highdicom, reference, origin, fixed, tmp_path):
    image = reference()
    for name in "ab":
        given = {"clock": fixed["clock"], "uid_source": SeededUids(7)}
        write_image_seg({"tumor": MASK}, image, tmp_path / name, origin, **given)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_masks_of_another_size_and_nothing_at_all_are_refused(highdicom, reference, origin, tmp_path):
    image = reference()
    with pytest.raises(DataError, match=r"mask tumor: it has the shape \(61, 40, 1\), its image \(1, 40, 61\)"):
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
