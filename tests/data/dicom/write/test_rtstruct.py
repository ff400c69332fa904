from __future__ import annotations

import logging

import numpy as np
import pydicom
import pytest
from dicom_validity import errors_of, rasterized

from ctan_monai.data.dicom.write import CtReference, SeededUids, write_rtstruct
from ctan_monai.errors import DataError


def by_name(structures):
    return {roi.ROIName: roi for roi in structures.StructureSetROISequence}


@pytest.mark.parametrize("tilt_deg", [0.0, 12.0])
@pytest.mark.parametrize("position", ["HFS", "FFS", "HFP", "HFDL", "oblique"])
def test_masks_come_back_voxel_by_voxel(references, origin, fixed, tmp_path, masks, position, tilt_deg):
    reference = references(position, tilt_deg)
    write_rtstruct(masks, reference.affine_ras, reference, tmp_path / "s.dcm", origin, **fixed)
    made = pydicom.dcmread(tmp_path / "s.dcm")
    assert list(by_name(made)) == list(masks)
    for name, roi in by_name(made).items():
        found = rasterized(made, roi.ROINumber, masks[name].shape, reference.affine_ras)
        assert np.array_equal(found, masks[name]), name


def test_a_hole_stays_a_contour_of_its_own(reference, origin, fixed, tmp_path, masks):
    write_rtstruct({"Rectum": masks["Rectum"]}, reference.affine_ras, reference, tmp_path / "s", origin, **fixed)
    contours = pydicom.dcmread(tmp_path / "s").ROIContourSequence[0].ContourSequence
    assert len(contours) == 2 * 5  # outer and inner in each of five slices
    assert {contour.ContourGeometricType for contour in contours} == {"CLOSED_PLANAR"}


def test_contours_name_the_image_that_they_lie_on_and_all_images_are_named(reference, origin, fixed, tmp_path, masks):
    write_rtstruct(masks, reference.affine_ras, reference, tmp_path / "s", origin, **fixed)
    made = pydicom.dcmread(tmp_path / "s")
    (frame,) = made.ReferencedFrameOfReferenceSequence
    assert frame.FrameOfReferenceUID == made.FrameOfReferenceUID == reference.first.FrameOfReferenceUID
    (study,) = frame.RTReferencedStudySequence
    (series,) = study.RTReferencedSeriesSequence
    assert study.ReferencedSOPInstanceUID == reference.first.StudyInstanceUID
    assert series.SeriesInstanceUID == reference.first.SeriesInstanceUID
    listed = [item.ReferencedSOPInstanceUID for item in series.ContourImageSequence]
    assert listed == [header.SOPInstanceUID for header in reference.headers]
    heights = {header.SOPInstanceUID: header.ImagePositionPatient[2] for header in reference.headers}
    for roi in made.ROIContourSequence:
        for contour in roi.ContourSequence:
            points = np.array(contour.ContourData, float).reshape(-1, 3)
            assert len(points) == contour.NumberOfContourPoints
            assert set(points[:, 2]) == {heights[contour.ContourImageSequence[0].ReferencedSOPInstanceUID]}


def test_it_says_what_made_it_and_is_not_approved(reference, origin, fixed, tmp_path, masks):
    write_rtstruct(masks, reference.affine_ras, reference, tmp_path / "s", origin, **fixed)
    made = pydicom.dcmread(tmp_path / "s")
    assert (made.ApprovalStatus, made.StructureSetLabel) == ("UNAPPROVED", "PREDICTED")
    assert "not for clinical use" in made.SeriesDescription
    assert (made.Manufacturer, made.ManufacturerModelName) == ("ctan_monai", "prostate ctan resnet50")
    assert made.PositionReferenceIndicator == ""
    assert made.OperatorsName
    types = [item.RTROIInterpretedType for item in made.RTROIObservationsSequence]
    assert types == ["ORGAN", "ORGAN", "ORGAN", "PTV"]
    assert {roi.ROIGenerationAlgorithm for roi in by_name(made).values()} == {"AUTOMATIC"}
    colors = [tuple(roi.ROIDisplayColor) for roi in made.ROIContourSequence]
    assert len(set(colors)) == 4
    assert colors[0] == (166, 86, 40)


@pytest.mark.parametrize(("position", "tilt_deg"), [("HFS", 0.0), ("oblique", 0.0), ("HFP", 12.0)])
def test_dciodvfy_finds_no_error(references, origin, fixed, tmp_path, masks, position, tilt_deg):
    reference = references(position, tilt_deg)
    write_rtstruct(masks, reference.affine_ras, reference, tmp_path / "s.dcm", origin, **fixed)
    assert errors_of(tmp_path / "s.dcm") == []


def test_a_contour_of_more_than_64_kb_is_read_back(write_ct, origin, fixed, tmp_path):
    reference = CtReference.read(write_ct())
    rows, columns = np.indices((900, 900))
    comb = (np.hypot(rows - 450, columns - 450) < 440) & ((rows % 2 == 0) | (columns > 440) & (columns < 450))
    mask = np.zeros((900, 900, 9), bool)
    mask[:, :, 3] = comb.T
    fine = reference.affine_ras @ np.diag([0.02, 0.02, 1, 1.0])
    write_rtstruct({"Bladder": mask}, fine, reference, tmp_path / "s", origin, **fixed)
    made = pydicom.dcmread(tmp_path / "s")
    longest = max(made.ROIContourSequence[0].ContourSequence, key=lambda contour: contour.NumberOfContourPoints)
    assert longest["ContourData"].VR == "DS"
    assert sum(len(str(value)) + 1 for value in longest.ContourData) > 2**16
    assert longest.NumberOfContourPoints * 3 == len(longest.ContourData)


def test_an_empty_mask_gets_no_entry_and_the_log_says_so(reference, origin, tmp_path, masks, caplog):
    given = {"Bladder": np.zeros_like(masks["Rectum"]), "Rectum": masks["Rectum"]}
    with caplog.at_level(logging.WARNING):
        write_rtstruct(given, reference.affine_ras, reference, tmp_path / "s", origin)
    assert list(by_name(pydicom.dcmread(tmp_path / "s"))) == ["Rectum"]
    assert "Bladder is empty" in caplog.text
    with pytest.raises(DataError, match="has a contour"):
        write_rtstruct({"Bladder": given["Bladder"]}, reference.affine_ras, reference, tmp_path / "t", origin)


def test_a_plane_whose_image_is_missing_refers_to_none(write_ct, origin, tmp_path, masks, caplog):
    whole = CtReference.read(write_ct())
    gap = CtReference.from_headers([whole.headers[index] for index in (0, 1, 2, 3, 5, 6, 7, 8)])
    with caplog.at_level(logging.WARNING):
        write_rtstruct({"Rectum": masks["Rectum"]}, whole.affine_ras, gap, tmp_path / "s", origin)
    contours = pydicom.dcmread(tmp_path / "s").ROIContourSequence[0].ContourSequence
    assert sum("ContourImageSequence" not in contour for contour in contours) == 2
    assert "1 planes have no CT image" in caplog.text


@pytest.mark.parametrize(("shift_mm", "message"), [(1.2, "none of its planes"), (30.0, "the CT from")])
def test_masks_of_another_grid_are_refused(reference, origin, tmp_path, masks, shift_mm, message):
    affine_ras = reference.affine_ras.copy()
    affine_ras[2, 3] += shift_mm
    inner = masks["Rectum"]
    with pytest.raises(DataError, match=message):
        write_rtstruct({"Rectum": inner}, affine_ras, reference, tmp_path / "s", origin)
    assert not list(tmp_path.iterdir())


def test_the_same_clock_and_uids_write_the_same_bytes(reference, origin, tmp_path, masks, fixed):
    for name in "ab":
        given = {"clock": fixed["clock"], "uid_source": SeededUids(5)}
        write_rtstruct(masks, reference.affine_ras, reference, tmp_path / name, origin, **given)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
