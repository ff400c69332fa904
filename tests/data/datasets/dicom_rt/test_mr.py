"""Planning on MR: structures and dose that were drawn and planned on an MR series, and answers on its images."""

import shutil

import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from dicom_phantoms import STRUCTURES, Patient, dose_at
from dicom_validity import dice, errors_but_synthetic
from pydicom.uid import generate_uid

from ctan_monai.data.cases.cache import read_case_file
from ctan_monai.data.datasets.dicom_rt.inference import dicom_inference_list
from ctan_monai.data.datasets.dicom_rt.prepare import prepare_dicom
from ctan_monai.data.dicom.read.options import DicomOptions
from ctan_monai.data.dicom.read.survey import survey
from ctan_monai.data.dicom.write import Prescription, predicted_by
from ctan_monai.data.formats.ct_source import read_source
from ctan_monai.data.phantom import PhantomGrid
from ctan_monai.data.phantom.cohort import make_cohort
from ctan_monai.engines.predictions.dicom_files import FilesOfCt
from ctan_monai.errors import ConfigError, DataError

GRID = {"rows": 80, "columns": 112, "slices": 24, "row_mm": 4.2, "column_mm": 4.2, "slice_mm": 5.0}
MR = DicomOptions(modality="MR")
MR_IMAGE = "1.2.840.10008.5.1.4.1.1.4"


@pytest.fixture(scope="module")
def cohorts(tmp_path_factory):
    """The same synthetic patient, planned on CT and on MR."""
    place = tmp_path_factory.mktemp("cohorts")
    return {
        kind: make_cohort(place / kind, 1, grid=PhantomGrid(**GRID, modality=kind), progress=False).folder
        for kind in ("CT", "MR")
    }


def prepared(source, folder, options=MR):
    """Prepare a folder; returns its rows, and the cases that were accepted."""
    made = prepare_dicom(source, folder, options, workers=1, split_fractions=(1, 0, 0), progress=False)
    return made.rows, [read_case_file(folder / next(iter(row.files))) for row in made.accepted]


def series_of(folder):
    """Return the SeriesInstanceUID of the MR in a folder."""
    return pydicom.dcmread(folder / "MR.0001.dcm").SeriesInstanceUID


def signal_of(folder):
    """Return the MR of a folder as SimpleITK reads it, (columns, rows, slices)."""
    files = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), series_of(folder))
    return sitk.GetArrayFromImage(sitk.ReadImage(files)).T.astype(np.float64)


def test_structures_and_dose_are_those_of_the_ct_and_the_signal_is_scaled_by_percentiles(cohorts, tmp_path):
    (row,), (mr,) = prepared(cohorts["MR"], tmp_path / "mr", DicomOptions(modality="MR", axcodes="LPS"))
    _, (ct,) = prepared(cohorts["CT"], tmp_path / "ct", DicomOptions(axcodes="LPS"))
    assert row.what == "MR"
    assert set(mr.volumes) == {"mr", "dose"}
    assert set(mr.masks) == set(ct.masks) >= {"Rectum", "Bladder", "PTV", "dose_region"}
    for name, mask in ct.masks.items():
        assert np.array_equal(mr.masks[name], mask), name
    assert np.array_equal(mr.volumes["dose"], ct.volumes["dose"])
    assert mr.meta["prescription_gy"] == 60.0
    signal, scaled = signal_of(cohorts["MR"] / "PHANTOM001"), mr.volumes["mr"].astype(np.float64)
    slope, intercept = np.polyfit(signal.ravel(), scaled.ravel(), 1)
    assert np.abs(slope * signal + intercept - scaled).max() < 1e-5
    inside = scaled[mr.masks["External"]]
    assert np.mean(inside < 0) == pytest.approx(0.005, abs=0.004)  # the outline is not the body that was found
    assert np.mean(inside > 1) == pytest.approx(0.005, abs=0.004)


@pytest.mark.parametrize(
    "laying", [{}, {"position": "FFP"}, {"tilt_deg": 12.0}, {"position": "HFDR", "tilt_deg": -20.0}], ids=str
)
def test_contours_and_dose_come_back_on_an_mr_however_the_patient_lies(tmp_path, laying):
    patient = Patient(**laying)
    patient.write(tmp_path / "ct")
    patient.write(tmp_path / "mr")
    for path in (each for each in (tmp_path / "mr").rglob("*") if each.is_file()):
        image = pydicom.dcmread(path)
        if image.Modality == "CT":
            image.SOPClassUID = image.file_meta.MediaStorageSOPClassUID = MR_IMAGE
            image.Modality = "MR"
            del image.RescaleSlope, image.RescaleIntercept, image.RescaleType  # an MR's signal has no unit
            image.save_as(path)
    _, (ct,) = prepared(tmp_path / "ct", tmp_path / "a", DicomOptions(axcodes=None))
    _, (mr,) = prepared(tmp_path / "mr", tmp_path / "b", DicomOptions(modality="MR", axcodes=None))
    assert np.allclose(
        mr.affine_ras, ct.affine_ras, rtol=0, atol=1e-6
    )  # pydicom shortens decimals when it writes again
    points = Patient.points(mr.shape, mr.affine_ras)
    for name, shapes in STRUCTURES.items():
        assert np.array_equal(mr.masks[name], ct.masks[name]), name
        assert dice(mr.masks[name], np.any([shape.inside(points) for shape in shapes], axis=0)) > 0.9, name
    known = mr.masks["dose_region"]
    assert np.abs(mr.volumes["dose"] - dose_at(points))[known].max() < 0.01


def test_dciodvfy_finds_no_error_in_a_synthetic_mr(cohorts):
    assert errors_but_synthetic(cohorts["MR"] / "PHANTOM001" / "MR.0009.dcm") == []


def another_series(folder, description):
    """Copy a patient's MR to another series of the same frame of reference, with another signal."""
    uid = generate_uid()
    for path in sorted(folder.glob("MR.*.dcm")):
        image = pydicom.dcmread(path)
        image.SeriesInstanceUID, image.SeriesDescription, image.SeriesNumber = uid, description, 7
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        image.PixelData = (image.pixel_array // 2).astype("<u2").tobytes()
        image.save_as(path.with_name(f"T1{path.name}"))


def test_of_several_series_the_one_counts_that_was_drawn_on_and_one_can_be_named(cohorts, tmp_path):
    source = shutil.copytree(cohorts["MR"], tmp_path / "in")
    another_series(source / "PHANTOM001", "t1_vibe")
    rows, (case,) = prepared(source, tmp_path / "out")
    assert [row.reason for row in rows if row.status == "rejected"] == ["no structure set refers to this MR series."]
    assert case.masks["Rectum"].any()
    assert survey(source, progress=False, modality="MR").grids == {"80 x 112 x 24 of 4.2 x 4.2 x 5 mm": 1}
    both = dicom_inference_list(source, tmp_path / "both", None, options={"modality": "MR"}, progress=False)
    assert len(both) == 2
    for named in ("T1_VIBE", "7"):
        (item,) = dicom_inference_list(
            source, tmp_path / named, None, options={"modality": "MR", "series": named}, progress=False
        )
        assert pydicom.dcmread(read_source(item["file"]).files[0]).SeriesDescription == "t1_vibe"
    with pytest.raises(DataError, match=r"there is no MR series called t2_tra; found .*48 mr"):
        dicom_inference_list(
            source, tmp_path / "none", None, options={"modality": "MR", "series": "t2_tra"}, progress=False
        )


def test_a_folder_of_the_other_modality_is_refused_in_its_words(cohorts, tmp_path):
    with pytest.raises(DataError, match=r"the images it refers to are no MR series \(\d+ CT\)"):
        prepared(cohorts["CT"], tmp_path / "a")
    with pytest.raises(DataError, match=r"the images it refers to are no CT series \(\d+ mr\)"):
        prepared(cohorts["MR"], tmp_path / "b", DicomOptions())
    with pytest.raises(DataError, match=r"there is no MR series; found 24 CT"):
        dicom_inference_list(cohorts["CT"], tmp_path / "c", options={"modality": "MR"}, progress=False)
    with pytest.raises(ConfigError, match="modality"):
        DicomOptions(modality="PT")


def test_a_missing_slice_is_told_of_the_mr_and_no_repair_is_offered(cohorts, tmp_path):
    source = shutil.copytree(cohorts["MR"], tmp_path / "in")
    (source / "PHANTOM001" / "MR.0010.dcm").unlink()
    with pytest.raises(DataError, match="MR series") as told:
        prepared(source, tmp_path / "out")
    assert " CT" not in told.value.reason
    assert "--repair" not in str(told.value)


def test_slices_are_cropped_to_the_body_of_the_mr(cohorts, tmp_path):
    _, (whole,) = prepared(cohorts["MR"], tmp_path / "whole")
    _, (cropped,) = prepared(cohorts["MR"], tmp_path / "cropped", DicomOptions(modality="MR", body_margin_mm=10))
    assert all(small <= large for small, large in zip(cropped.shape, whole.shape, strict=True))
    assert cropped.shape[:2] < whole.shape[:2]
    for name in ("Rectum", "Bladder", "PTV"):
        assert cropped.masks[name].sum() == whole.masks[name].sum(), name


def test_a_constant_series_is_refused(cohorts, tmp_path):
    source = shutil.copytree(cohorts["MR"], tmp_path / "in")
    for path in source.rglob("MR.*.dcm"):
        image = pydicom.dcmread(path)
        image.PixelData = np.full((80, 112), 5, "<u2").tobytes()
        image.save_as(path)
    with pytest.raises(DataError, match="signal of the MR is 5 throughout"):
        prepared(source, tmp_path / "out")


def test_what_is_written_for_an_mr_refers_to_its_images_and_lies_on_its_grid(cohorts, tmp_path):
    (item,) = dicom_inference_list(cohorts["MR"], tmp_path / "cache", 6.0, options={"modality": "MR"}, progress=False)
    case, source = read_case_file(item["file"]), read_source(item["file"])
    assert set(case.volumes) == {"mr"}
    _, (drawn,) = prepared(cohorts["MR"], tmp_path / "out", DicomOptions(modality="MR", axcodes="LPS"))
    files = FilesOfCt(tmp_path / "answer", source, predicted_by("test"), Prescription(60.0, 20))
    mask, dose_gy = drawn.masks["Bladder"], drawn.volumes["dose"]
    files.write_dicom(("rtstruct", "rtdose", "seg"), {"Bladder": mask}, dose_gy)
    files.write_nifti({})
    assert files.problems == []
    for name in ("RS.dcm", "RP.dcm", "RD.dcm", "SEG.dcm"):
        assert errors_but_synthetic(tmp_path / "answer" / name) == [], name
    images = {pydicom.dcmread(path).SOPInstanceUID for path in (cohorts["MR"] / "PHANTOM001").glob("MR.*.dcm")}
    structures = pydicom.dcmread(tmp_path / "answer" / "RS.dcm")
    named = [contour.ContourImageSequence[0] for contour in structures.ROIContourSequence[0].ContourSequence]
    assert {each.ReferencedSOPClassUID for each in named} == {MR_IMAGE}
    assert {each.ReferencedSOPInstanceUID for each in named} <= images
    assert len({each.ReferencedSOPInstanceUID for each in named}) == mask.any((0, 1)).sum()
    written = nib.load(tmp_path / "answer" / "nifti" / "mr.nii.gz")
    assert np.array_equal(written.get_fdata(), signal_of(cohorts["MR"] / "PHANTOM001"))
    (again,) = dicom_inference_list(
        tmp_path / "answer" / "nifti" / "mr.nii.gz", tmp_path / "nifti", 6.0, options={"modality": "MR"}
    )
    assert np.abs(read_case_file(again["file"]).volumes["mr"] - case.volumes["mr"]).max() < 1e-4
