"""Whatever a clinic points at becomes a list of CTs, called by pseudonyms, or a reason why not."""

import json
import logging
import os
import shutil

import nibabel as nib
import numpy as np
import pytest
from dicom_phantoms import Patient, save_all
from pydicom.uid import generate_uid

from ctan_monai.data.cases.cache import read_case_file
from ctan_monai.data.datasets.dicom_rt.inference import dicom_inference_list
from ctan_monai.data.datasets.dicom_rt.prepare import prepare_dicom
from ctan_monai.data.dicom.read.options import DicomOptions
from ctan_monai.data.dicom.write import CtReference
from ctan_monai.data.formats.ct_source import read_source, source_path
from ctan_monai.data.phantom import PhantomGrid
from ctan_monai.errors import DataError


@pytest.fixture
def listed(tmp_path):
    """List the CTs of a source."""

    def run(source, **options):
        return dicom_inference_list(source, tmp_path / "cache", workers=1, progress=False, **options)

    return run


def magnetic_resonance(patient):
    """Return an image that is no CT."""
    image = patient.ct()[0]
    image.SOPClassUID, image.Modality = "1.2.840.10008.5.1.4.1.1.4", "MR"
    image.SOPInstanceUID = generate_uid()
    return image


def test_ct_series_are_found_in_any_nesting_among_other_objects(listed, tmp_path):
    first, second = Patient(patient_id="one"), Patient(patient_id="two", rows=40)
    first.write(tmp_path / "in" / "a" / "b")
    second.write(tmp_path / "in" / "c")
    save_all([magnetic_resonance(first)], tmp_path / "in" / "mr")
    (tmp_path / "in" / "notes.txt").write_text("see one")
    items = listed(tmp_path / "in", pixel_mm=None)
    assert [item["case"] for item in items] == sorted(item["case"] for item in items)
    shapes = {read_source(item["file"]).shape for item in items}
    assert shapes == {(78, 64, 24), (78, 40, 24)}
    for item in items:
        assert list(read_case_file(item["file"]).volumes) == ["ct"]
        assert not read_case_file(item["file"]).masks  # contours of the patient are not looked at


def test_a_case_is_what_training_saw_of_the_same_ct(listed, tmp_path):
    patient = Patient(position="HFDR")
    patient.write(tmp_path / "in")
    (item,) = listed(tmp_path / "in", pixel_mm=3.0)
    options = DicomOptions(pixel_mm=3.0)
    prepare_dicom(tmp_path / "in", tmp_path / "cache", options, workers=1, split_fractions=(1, 0, 0), progress=False)
    trained = read_case_file(next((tmp_path / "cache" / "cases").glob("*.case")))
    predicted = read_case_file(item["file"])
    assert predicted.case == trained.case  # one key in one cache: a patient has one pseudonym
    np.testing.assert_array_equal(predicted.volumes["ct"], trained.volumes["ct"])
    np.testing.assert_array_equal(predicted.affine_ras, trained.affine_ras)


@pytest.mark.parametrize("laying", [{}, {"position": "FFS"}, {"lean_deg": 15.0}], ids=["HFS", "FFS", "tilted"])
def test_the_source_knows_the_cts_own_grid_and_its_images_in_order(listed, tmp_path, laying):
    patient = Patient(**laying)
    patient.write(tmp_path / "in")
    (item,) = listed(tmp_path / "in")
    source = read_source(item["file"])
    assert list(source.sop_uids) == patient.ct_uids
    assert [header.SOPInstanceUID for header in CtReference.read(source.files).headers] == patient.ct_uids
    row, column, number = 7, 11, 5
    place = patient.corner(number) + row * patient.pixel_mm[0] * patient.column + column * 1.8 * patient.row
    index = np.array([column, row, number, 1.0])
    np.testing.assert_allclose((source.affine_ras @ index)[:3] * [-1, -1, 1], place, atol=1e-4)
    assert source.voxel_mm3 == pytest.approx(1.5 * 1.8 * 2.5 * np.cos(np.deg2rad(laying.get("lean_deg", 0))), rel=1e-5)
    assert source_path(item["file"]).stat().st_mode & 0o077 == 0  # it names files, so nobody else may read it


def test_a_file_stands_for_its_series_alone(listed, tmp_path):
    planning, other = Patient(), Patient(rows=40)
    (tmp_path / "in").mkdir()
    paths = []
    for path in [*planning.write(tmp_path / "first"), *other.write(tmp_path / "second")]:
        paths.append(path.rename(tmp_path / "in" / f"{len(paths)}"))
    (item,) = listed(paths[3], pixel_mm=None)
    assert set(read_source(item["file"]).sop_uids) == set(planning.ct_uids)
    with pytest.raises(DataError, match="it is DICOM of the kind RTDOSE"):
        listed(paths[-1])


def test_a_second_time_nothing_is_read_again_unless_it_changed_or_moved(listed, tmp_path):
    Patient().write(tmp_path / "in")
    (item,) = listed(tmp_path / "in")
    before = os.stat(item["file"]).st_mtime_ns
    assert listed(tmp_path / "in") == [item]
    assert os.stat(item["file"]).st_mtime_ns == before
    shutil.move(tmp_path / "in", tmp_path / "elsewhere")  # sizes and times of the files stay
    assert listed(tmp_path / "elsewhere") == [item]
    assert all(path.is_file() for path in read_source(item["file"]).files)
    (other,) = listed(tmp_path / "elsewhere", pixel_mm=2.0)
    assert other["case"] == item["case"]
    assert other["file"] != item["file"]
    source_path(item["file"]).unlink()
    assert listed(tmp_path / "elsewhere") == [item]
    assert source_path(item["file"]).is_file()


def test_what_cannot_be_used_is_said_with_the_reason_and_left_out(listed, tmp_path, caplog):
    Patient(patient_id="good").write(tmp_path / "in" / "good")
    broken = Patient(patient_id="Smith-77")
    images = broken.ct()
    save_all(images[:8] + images[9:], tmp_path / "in" / "broken")
    scout = Patient(patient_id="good")
    save_all(scout.ct()[:1], tmp_path / "in" / "single")
    (item,) = listed(tmp_path / "in")
    reasons = [record.getMessage() for record in caplog.records if "is left out" in record.getMessage()]
    for found in ("a CT of 23 images, is left out: 1 slices of the CT series are missing", "a CT of 1 images"):
        assert sum(found in reason for reason in reasons) == 1
    assert "Smith" not in caplog.text
    skipped = json.loads((tmp_path / "cache" / "inference_3mm" / "skipped.json").read_text())
    assert sorted(len(entry["files"]) for entry in skipped) == [1, 23]
    assert item["case"] not in [entry["case"] for entry in skipped]
    assert (tmp_path / "cache" / "inference_3mm" / "skipped.json").stat().st_mode & 0o077 == 0


def test_a_ct_with_a_missing_slice_is_mended_if_that_is_asked_for(listed, tmp_path, caplog):
    patient = Patient()
    images = patient.ct()
    save_all(images[:8] + images[9:], tmp_path / "in")
    (item,) = listed(tmp_path / "in", pixel_mm=None, repair=True)
    source = read_source(item["file"])
    assert (source.shape[2], len(source.files)) == (24, 23)
    np.testing.assert_allclose(source.affine_ras[:3, 2], [0, 0, 2.5], atol=1e-6)
    assert "1 missing slices were interpolated" in caplog.text


@pytest.mark.parametrize("break_it", ["no frame", "no ct", "cut", "nothing"])
def test_with_nothing_to_use_there_is_one_error_that_says_why(listed, tmp_path, break_it):
    folder = tmp_path / "in"
    patient = Patient()
    if break_it == "no frame":
        images = patient.ct()
        for image in images:
            del image.FrameOfReferenceUID
        save_all(images, folder)
        message = "none of its 1 CT series can be used: .* has no FrameOfReferenceUID"
    elif break_it == "no ct":
        save_all([patient.rtdose(), magnetic_resonance(patient)], folder)
        message = r"there is no CT series; found 1 RTDOSE, 1 mr"
    elif break_it == "cut":
        for path in save_all(patient.ct(), folder):
            path.write_bytes(path.read_bytes()[:-3000])
        message = "none of its 1 CT series can be used: it is cut short: it has 6984 bytes of PixelData, expected 9984"
    else:
        folder.mkdir()
        (folder / "readme").write_text("empty")
        message = "none of its 1 files is a readable DICOM object"
    with pytest.raises(DataError, match=message):
        listed(folder)


def test_a_path_that_is_not_there_or_no_image_is_said(listed, tmp_path):
    with pytest.raises(DataError, match="there is no such folder"):
        listed(tmp_path / "nowhere")
    (tmp_path / "letter.txt").write_text("Dear colleague")
    with pytest.raises(DataError, match="it is no DICOM or NIfTI"):
        listed(tmp_path / "letter.txt")


def test_without_an_input_a_synthetic_patient_is_made_and_called_so(listed, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    grid = PhantomGrid(rows=80, columns=120, slices=12, row_mm=4, column_mm=4, slice_mm=8)
    (item,) = listed(None, phantom_grid=grid)
    assert read_source(item["file"]).synthetic
    assert read_case_file(item["file"]).meta["synthetic"] is True
    assert "no input was given: a SYNTHETIC patient is used" in caplog.text
    assert listed("", phantom_grid=grid) == [item]  # made once


def test_nifti_is_turned_and_resampled_as_training_saw_cts(listed, tmp_path):
    patient = Patient()
    patient.write(tmp_path / "in", rtstruct=None, rtplan=None, rtdose=None)
    (item,) = listed(tmp_path / "in", pixel_mm=None, axcodes="LPS")
    ct = read_case_file(item["file"])
    folder = tmp_path / "nifti"
    folder.mkdir()
    flipped = ct.affine_ras @ np.array([[-1, 0, 0, 77], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    nib.save(nib.Nifti1Image(ct.volumes["ct"][::-1], flipped), folder / "phantom.nii.gz")
    (by_nifti,), (by_dicom,) = listed(folder, pixel_mm=3.0), listed(tmp_path / "in", pixel_mm=3.0)
    one, other = read_case_file(by_nifti["file"]), read_case_file(by_dicom["file"])
    np.testing.assert_allclose(one.affine_ras, other.affine_ras, atol=1e-5)
    assert np.abs(one.volumes["ct"].astype(int) - other.volumes["ct"]).max() <= 1  # rounding
    source = read_source(by_nifti["file"])
    assert (source.dicom, source.shape) == (False, (78, 64, 24))
    np.testing.assert_allclose(source.affine_ras, flipped, atol=1e-5)


def test_a_source_that_is_gone_or_damaged_is_said(listed, tmp_path):
    Patient().write(tmp_path / "in")
    (item,) = listed(tmp_path / "in")
    path = source_path(item["file"])
    path.write_text(path.read_text()[:40])
    with pytest.raises(DataError, match=r"the source of the case cannot be read \(JSONDecodeError\)"):
        read_source(item["file"])
    path.unlink()
    with pytest.raises(DataError, match="it is not known which CT this case was made of"):
        read_source(item["file"])
