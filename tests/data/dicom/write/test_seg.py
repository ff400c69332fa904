from __future__ import annotations

import logging
import sys

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from dicom_validity import errors_of

from ctan_monai.data.dicom.write import CtReference, SeededUids, write_seg
from ctan_monai.data.dicom.write.seg import codes_of
from ctan_monai.errors import ConfigError, DataError


@pytest.fixture(scope="module")
def highdicom():
    return pytest.importorskip("highdicom", reason="the extra ctan-monai[dicom] is not installed")


@pytest.mark.parametrize(("position", "tilt_deg"), [("HFS", 0.0), ("FFS", 0.0), ("oblique", 0.0), ("HFS", 12.0)])
def test_highdicom_reads_the_masks_of_each_image_back(
    highdicom, references, origin, fixed, tmp_path, masks, position, tilt_deg
):
    reference = references(position, tilt_deg)
    write_seg(masks, reference.affine_ras, reference, tmp_path / "s.dcm", origin, **fixed)
    read = highdicom.seg.segread(tmp_path / "s.dcm")
    found = read.get_pixels_by_source_instance([header.SOPInstanceUID for header in reference.headers])
    assert found.shape == (9, 19, 23, 4)
    for number, name in enumerate(masks):
        assert read.get_segment_description(number + 1).segment_label == name
        assert np.array_equal(found[..., number].T.astype(bool), masks[name]), name


def test_itk_sees_the_frames_of_a_structure_where_the_ct_has_them(highdicom, reference, origin, fixed, tmp_path, masks):
    write_seg({"Bladder": masks["Bladder"]}, reference.affine_ras, reference, tmp_path / "s.dcm", origin, **fixed)
    image = sitk.ReadImage(str(tmp_path / "s.dcm"))  # the slices that hold something, from the head downwards
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ reference.affine_ras
    found = np.zeros_like(masks["Bladder"])
    for index in np.ndindex(image.GetSize()):
        place = image.TransformIndexToPhysicalPoint(index)
        voxel = np.linalg.solve(lps, (*place, 1))[:3]
        assert np.abs(voxel - np.rint(voxel)).max() < 1e-3
        if index != (22, 18, 4):  # GDCM leaves the bits after the last whole byte to chance: 5 x 19 x 23 = 273 x 8 + 1
            found[tuple(np.rint(voxel).astype(int))] = image[index]
    assert np.array_equal(found, masks["Bladder"])


def test_it_says_what_made_it_and_what_each_structure_is(highdicom, reference, origin, tmp_path, masks, fixed):
    write_seg(masks, reference.affine_ras, reference, tmp_path / "s.dcm", origin, **fixed)
    made = pydicom.dcmread(tmp_path / "s.dcm")
    assert "not for clinical use" in made.ContentDescription
    assert (made.ContentLabel, made.Manufacturer) == ("PREDICTED", "ctan_monai")
    assert (made.PatientID, str(made.PatientName)) == ("x 1", "Müller^Jürgen")
    assert made.FrameOfReferenceUID == reference.first.FrameOfReferenceUID
    assert made.ContentDate + made.ContentTime == "20240506070809"
    femur = made.SegmentSequence[2]
    kind = femur.SegmentedPropertyTypeCodeSequence[0]
    assert kind.CodeMeaning == "Femur"
    assert kind.SegmentedPropertyTypeModifierCodeSequence[0].CodeMeaning == "Left"
    assert femur.SegmentAlgorithmType == "AUTOMATIC"


def test_dciodvfy_finds_no_error(highdicom, references, origin, fixed, tmp_path, masks):
    for position in ("HFS", "oblique"):
        reference = references(position)
        write_seg(masks, reference.affine_ras, reference, tmp_path / position, origin, **fixed)
        assert errors_of(tmp_path / position) == []


def test_the_same_clock_and_uids_write_the_same_bytes(highdicom, reference, origin, tmp_path, masks, fixed):
    for name in "ab":
        given = {"clock": fixed["clock"], "uid_source": SeededUids(5)}
        write_seg(masks, reference.affine_ras, reference, tmp_path / name, origin, **given)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_empty_masks_are_left_out(highdicom, reference, origin, tmp_path, masks, caplog):
    empty = np.zeros_like(masks["Rectum"])
    with caplog.at_level(logging.WARNING):
        write_seg({"A": empty, **masks}, reference.affine_ras, reference, tmp_path / "s", origin)
    assert [item.SegmentLabel for item in pydicom.dcmread(tmp_path / "s").SegmentSequence] == list(masks)
    assert "A: empty" in caplog.text
    with pytest.raises(DataError, match="holds a voxel"):
        write_seg({"A": empty}, reference.affine_ras, reference, tmp_path / "t", origin)


def test_masks_that_are_not_on_the_cts_pixels_are_refused(highdicom, reference, origin, tmp_path, masks):
    shifted = reference.affine_ras.copy()
    shifted[0, 3] += 0.4
    with pytest.raises(DataError, match=r"lies 0\.40 mm"):
        write_seg(masks, shifted, reference, tmp_path / "s", origin)
    with pytest.raises(DataError, match="pixels"):
        write_seg({"A": np.ones((5, 5, 9), bool)}, reference.affine_ras, reference, tmp_path / "s", origin)


def test_a_plane_without_an_image_is_refused(highdicom, write_ct, origin, tmp_path, masks):
    whole = CtReference.read(write_ct())
    gap = CtReference.from_headers([whole.headers[index] for index in (0, 1, 2, 3, 5, 6, 7, 8)])
    with pytest.raises(DataError, match="write an RTSTRUCT"):
        write_seg({"Rectum": masks["Rectum"]}, whole.affine_ras, gap, tmp_path / "s", origin)


def test_without_highdicom_the_error_says_how_to_get_it(monkeypatch, reference, origin, tmp_path, masks):
    monkeypatch.setitem(sys.modules, "highdicom", None)
    with pytest.raises(ConfigError, match=r'pip install -e "\.\[dicom\]" .*or pip install highdicom'):
        write_seg(masks, reference.affine_ras, reference, tmp_path / "s", origin)


@pytest.mark.parametrize(
    ("name", "kind", "side"),
    [
        ("Rectum", "Rectum", None),
        ("Femur_L", "Femur", "Left"),
        ("Femur_Head_R", "Femur", "Right"),
        ("PTV_60", "Planning target volume", None),
        ("CTVp1", "Clinical target volume", None),
        ("Sigmoid", "Organ", None),
    ],
)
def test_names_become_codes(name, kind, side):
    _, found, where = codes_of(name)
    assert (found.meaning, where and where.meaning) == (kind, side)


def test_a_ct_that_was_stripped_of_patient_and_study_gets_a_seg_too(highdicom, write_ct, origin, tmp_path, masks):
    stripped = ["PatientBirthDate", "PatientSex", "StudyID", "StudyDate", "StudyTime", "AccessionNumber"]
    reference = CtReference.read(write_ct(**dict.fromkeys(stripped)))
    write_seg(masks, reference.affine_ras, reference, tmp_path / "s.dcm", origin)
    made = pydicom.dcmread(tmp_path / "s.dcm")
    assert [str(made[name].value or "") for name in stripped] == [""] * len(stripped)
    assert "PatientSex" not in reference.first  # the CT's own header stays as it is
    assert errors_of(tmp_path / "s.dcm") == []
