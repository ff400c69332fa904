"""A CT that was cut is noticed by what was drawn on it and planned on it."""

import numpy as np
import pytest
from dicom_phantoms import Patient, dose_at, save_all
from pydicom.uid import generate_uid

from ctan_monai.data.datasets.dicom_rt.inference import dicom_inference_list
from ctan_monai.errors import DataError

SMALL = {"rows": 30, "columns": 40, "slices": 12, "spacing_mm": 4.0, "pixel_mm": (3.2, 3.0)}


def without_images(structure_set):
    """Take the images out of what a structure set refers to, as the standard allows; the series stays."""
    study = structure_set.ReferencedFrameOfReferenceSequence[0].RTReferencedStudySequence[0]
    study.RTReferencedSeriesSequence[0].ContourImageSequence = []
    return structure_set


@pytest.fixture
def patient():
    return Patient(**SMALL)


@pytest.mark.promise(4, "a CT that ends before its contours is refused")
@pytest.mark.parametrize("kept", [slice(0, -3), slice(3, None)], ids=["upper end", "lower end"])
def test_contours_beyond_the_ends_are_refused_or_cut_off_on_request(read, patient, kept):
    objects = {"rtstruct": without_images(patient.rtstruct()), "ct": patient.ct()[kept]}
    with pytest.raises(
        DataError, match=r"contours lie beyond the CT's first or last slice: .*the CT may have"
    ) as caught:
        read(patient, objects)
    assert "Bladder" in caught.value.reason if kept.start == 0 else "Rectum" in caught.value.reason
    assert "--repair" in caught.value.remedy
    case = read(patient, objects, repair=True)
    assert case.shape[2] == 9
    assert any("lie beyond the CT's first or last slice" in note for note in case.meta["notes"])
    assert "accepted although the dose goes on" in str(case.meta["notes"])


def test_a_single_missing_end_is_enough(read, patient):
    contours = {"Bladder": [(k, outline) for k, outline in patient.outlines(patient.structures["CTV"])]}
    last = contours["Bladder"][-1][1]
    moved = last + (patient.corner(11) - patient.corner(contours["Bladder"][-1][0]))
    contours["Bladder"].append((11, moved))
    objects = {"rtstruct": without_images(patient.rtstruct(contours)), "rtdose": None}
    assert read(patient, objects, need=("structures",)).masks["Bladder"].any()
    with pytest.raises(DataError, match=r"Bladder \(1 of \d+\)"):
        read(patient, {**objects, "ct": patient.ct()[:-1]}, need=("structures",))


@pytest.mark.promise(4, "a CT that ends before its dose is refused")
def test_a_dose_that_goes_on_is_refused_unless_what_goes_on_is_low(read, patient):
    objects = {"rtstruct": None, "ct": patient.ct()[:-3]}
    with pytest.raises(DataError, match=r"the dose goes on 20\.0 mm beyond the CT's first or last slice"):
        read(patient, objects, need=("dose",))
    end = patient.corner(9)[2]
    fading = patient.rtdose(values=lambda points: dose_at(points) * np.where(points[..., 2] > end, 0.05, 1.0))
    assert read(patient, {**objects, "rtdose": fading}, need=("dose",)).meta["notes"] == []


@pytest.mark.parametrize("by", ["images", "contours", "dose"])
def test_inference_refuses_a_cut_ct_too(tmp_path, patient, by):
    structure_set = patient.rtstruct() if by == "images" else without_images(patient.rtstruct())
    objects = [structure_set] if by != "dose" else [patient.rtplan(), patient.rtdose()]
    save_all([*patient.ct()[:-3], *objects], tmp_path / "in")
    said = {"images": "3 of the 12 images", "contours": "contours lie beyond", "dose": "the dose goes on"}[by]
    with pytest.raises(DataError, match=said):
        listed(tmp_path)
    assert len(listed(tmp_path, repair=True)) == 1


def listed(folder, **options):
    return dicom_inference_list(folder / "in", folder / "cache", workers=1, progress=False, **options)


def test_a_ct_that_was_cut_later_is_not_taken_from_the_cache(tmp_path, patient):
    paths = save_all([*patient.ct(), patient.rtstruct()], tmp_path / "in")
    assert len(listed(tmp_path)) == 1
    paths[11].unlink()
    with pytest.raises(DataError, match="1 of the 12 images that the structure set refers to are missing"):
        listed(tmp_path)


def test_contours_of_another_frame_say_nothing_about_the_cts_ends(tmp_path, patient):
    structure_set = without_images(patient.rtstruct())
    for each in structure_set.StructureSetROISequence:
        each.ReferencedFrameOfReferenceUID = generate_uid()
    save_all([*patient.ct()[:-3], structure_set], tmp_path / "in")
    assert len(listed(tmp_path)) == 1


def test_a_damaged_file_among_the_images_of_the_only_ct_is_refused_in_inference(tmp_path, patient):
    paths = save_all(patient.ct(), tmp_path / "in")
    folder = paths[0].parent
    (folder / "cut").write_bytes(paths[0].read_bytes()[:170])
    with pytest.raises(DataError, match="1 file beside its images looks like DICOM and cannot be read"):
        listed(tmp_path)
    assert len(listed(tmp_path, repair=True)) == 1
