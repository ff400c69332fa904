from __future__ import annotations

from datetime import datetime

import itk
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from dicom_validity import dice, errors_but_synthetic, rasterized

from ctan_monai.data.dicom.read.link import link
from ctan_monai.data.dicom.read.options import DicomOptions
from ctan_monai.data.dicom.read.patient import read_patient
from ctan_monai.data.dicom.read.scan import scan
from ctan_monai.data.dicom.read.select import select
from ctan_monai.data.dicom.write import SeededUids
from ctan_monai.data.phantom import STRUCTURES, write_patient_dicom
from ctan_monai.errors import DataError

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
OBJECTS = ("CT.0001.dcm", "CT.0040.dcm", "RS.dcm", "RP.dcm", "RD.dcm")


@pytest.fixture(scope="module")
def structures(folder):
    return pydicom.dcmread(folder / "RS.dcm")


@pytest.mark.parametrize("name", OBJECTS)
def test_dciodvfy_finds_no_error(folder, name):
    assert errors_but_synthetic(folder / name) == []


@pytest.mark.parametrize("name", OBJECTS)
def test_every_object_says_that_it_is_synthetic(folder, name):
    made = pydicom.dcmread(folder / name)
    assert (str(made.PatientName), made.PatientID) == ("SYNTHETIC^PHANTOM 003", "PHANTOM003")
    assert made[0x0008001C].value in ("YES", b"YES ")  # SyntheticData; pydicom 2 does not know it
    assert "SYNTHETIC" in made.SeriesDescription
    assert "no real patient" in made.SeriesDescription
    text = made.get("ImageComments") or made.get("StructureSetDescription") or made.get("RTPlanDescription")
    assert "no patient's" in text


def test_simpleitk_and_itk_read_the_ct_that_was_made(folder, patient):
    series = pydicom.dcmread(folder / "CT.0001.dcm").SeriesInstanceUID
    names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), series)
    image = sitk.ReadImage(names)
    assert np.array_equal(sitk.GetArrayFromImage(image).T, patient.ct_hu)
    other = itk.imread(list(names), itk.SS)
    assert np.array_equal(itk.array_view_from_image(other).T, patient.ct_hu)
    for index in ((0, 0, 0), (143, 20, 39)):
        place = (LPS @ patient.affine_ras @ (*index, 1))[:3]
        assert image.TransformIndexToPhysicalPoint(index) == pytest.approx(place, abs=1e-3)
        assert list(other.TransformIndexToPhysicalPoint(index)) == pytest.approx(place, abs=1e-3)


def test_contours_enclose_the_voxels_of_the_structures(patient, structures):
    for roi in structures.StructureSetROISequence:
        found = rasterized(structures, roi.ROINumber, patient.ct_hu.shape, patient.affine_ras)
        assert dice(found, patient.mask(roi.ROIName)) > 0.999, roi.ROIName


def test_contours_are_smoother_than_pixels(structures):
    """A traced mask has corners at whole and half pixels only; a drawn contour does not."""
    contour = structures.ROIContourSequence[2].ContourSequence[5]
    points = np.array(contour.ContourData, float).reshape(-1, 3)
    fractions = np.mod(points[:, 0] - points[0, 0], 3.3 / 2)
    assert np.unique(np.round(fractions, 2)).size > len(points) / 3


def test_the_reader_of_this_package_gets_everything_back(folder, patient):
    (linked,), unlinked = link(scan(folder, progress=False).objects)
    assert not unlinked
    options = DicomOptions(axcodes=None)
    case = read_patient(select(linked, options), "p", options)
    assert case.meta["synthetic"] is True
    assert (case.meta["prescription_gy"], case.meta["fractions"]) == (60.0, 20)
    assert np.array_equal(case.volumes["ct"].transpose(1, 0, 2), patient.ct_hu)
    for name in STRUCTURES:
        assert dice(case.masks[name].transpose(1, 0, 2), patient.mask(name)) > 0.999, name
    assert not case.masks["dose_region"][..., [0, -1]].any()
    inside = case.masks["PTV"] & case.masks["dose_region"]
    assert case.volumes["dose"][inside].mean() == pytest.approx(60, rel=0.02)


def test_the_dose_is_stored_in_16_bits_and_read_back(folder, patient):
    step = float(pydicom.dcmread(folder / "RD.dcm").DoseGridScaling)
    read = sitk.ReadImage(str(folder / "RD.dcm"), sitk.sitkFloat64)
    found_gy = sitk.GetArrayFromImage(read).T * step
    assert np.abs(found_gy - patient.dose_gy).max() <= step / 2 * (1 + 1e-6)
    place = (LPS @ patient.dose_affine_ras @ (3, 5, 7, 1))[:3]
    assert read.TransformIndexToPhysicalPoint((3, 5, 7)) == pytest.approx(place, abs=1e-3)


def test_objects_refer_to_each_other(folder, structures):
    ct, plan, dose = (pydicom.dcmread(folder / name) for name in ("CT.0001.dcm", "RP.dcm", "RD.dcm"))
    assert dose.ReferencedRTPlanSequence[0].ReferencedSOPInstanceUID == plan.SOPInstanceUID
    assert plan.ReferencedStructureSetSequence[0].ReferencedSOPInstanceUID == structures.SOPInstanceUID
    assert len({made.FrameOfReferenceUID for made in (ct, structures, plan, dose)}) == 1
    assert len({made.StudyInstanceUID for made in (ct, structures, plan, dose)}) == 1
    assert len({made.SeriesInstanceUID for made in (ct, structures, plan, dose)}) == 4


def test_the_same_seed_clock_and_uids_write_the_same_bytes_under_other_names(folder, patient, tmp_path):
    again = write_patient_dicom(patient, tmp_path / "b", lambda: datetime(2001, 2, 3, 4, 5, 6), SeededUids(0), number=3)
    for path in folder.iterdir():
        assert (again / path.name).read_bytes() == path.read_bytes(), path.name


def test_structures_can_go_by_other_names(patient, tmp_path):
    names = {"Femur_L": "Oberschenkel li", "Rectum": "Rektum"}
    path = write_patient_dicom(patient, tmp_path / "c", datetime.now, SeededUids(1), names=names)
    found = {roi.ROIName for roi in pydicom.dcmread(path / "RS.dcm").StructureSetROISequence}
    assert {"Oberschenkel li", "Rektum", "Bladder"} <= found
    assert not {"Femur_L", "Rectum"} & found


def test_a_folder_is_never_replaced_and_nothing_is_left_over(folder, patient, tmp_path):
    (tmp_path / "d").mkdir()
    with pytest.raises(DataError, match="not replaced"):
        write_patient_dicom(patient, tmp_path / "d", datetime.now, SeededUids(1))
    (tmp_path / "f").write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        write_patient_dicom(patient, tmp_path / "f" / "e", datetime.now, SeededUids(1))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["d", "f"]
