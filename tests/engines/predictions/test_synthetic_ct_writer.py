"""Synthetic CTs as DICOM: the same HU and structures as in NIfTI, where other programs look for them."""

import logging

import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from dicom_phantoms import CLASSES, Patient
from dicom_validity import errors_but_synthetic, rasterized

from ctan_monai.data.cases.cache import write_case
from ctan_monai.data.cases.case import Case
from ctan_monai.data.dicom.write import CtReference
from ctan_monai.data.formats.ct_source import CtSource, write_source
from ctan_monai.data.formats.nifti import write_nifti
from ctan_monai.engines import WriteSyntheticCt
from ctan_monai.engines.predictions.predictions_index import PredictedCase, write_index
from ctan_monai.errors import ConfigError, DataError
from ctan_monai.tasks import Regression, Segmentation

CT = Regression("ct", unit="HU", scale=300.0, region="mask")
ORGANS = Segmentation("organs", ["Prostate", "Bladder", "Rectum"])
TASKS = (CT, ORGANS)
SHAPE = (21, 17, 8)
AFFINE = np.array([[1.5, 0, 0, -15], [0, 1.25, 0, 7], [0, 0, 3.0, -40], [0, 0, 0, 1.0]])
FORMATS = ("ct", "rtstruct", "seg")


def write_predictions(folder, case, affine_ras=AFFINE, shape=SHAPE, source=None, spoil=0.0):
    """Write what `WritePredictions` does of a case; Rectum is empty. Returns HU and masks."""
    rng = np.random.default_rng(len(case))
    ct_hu = rng.normal(0, 500, shape).clip(-1000, 2000).astype(np.float32) + np.float32(spoil)
    i, j, k = np.meshgrid(*(np.arange(side) for side in shape), indexing="ij")
    masks = {
        "Prostate": (np.hypot(i - 8, j - 7) < 4.2) & (k > 2) & (k < 6),
        "Bladder": (np.hypot(i - 8, j - 7) < 3.3) & (k == 6),
        "Rectum": np.zeros(shape, bool),
    }
    arrays = {"ct": ct_hu, **{name: mask.astype(np.uint8) for name, mask in masks.items()}}
    files = {name: folder / case / f"{name}.nii.gz" for name in arrays}
    for name, array in arrays.items():
        write_nifti(array, affine_ras, files[name])
    by_task = {"ct": {"ct": files.pop("ct")}, "organs": files}
    return PredictedCase(case, source, by_task), ct_hu, masks


@pytest.fixture
def predictions(tmp_path):
    """A folder of the predictions for one MR that was NIfTI."""
    case, ct_hu, masks = write_predictions(tmp_path / "out", "P001")
    write_index(tmp_path / "out", TASKS, [case])
    return tmp_path / "out", ct_hu, masks


def sitk_image(folder):
    return sitk.ReadImage(sorted(str(path) for path in folder.glob("CT.*.dcm")))


def ras_of(image):
    """Return (column, row, slice) -> RAS mm."""
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine


def test_ct_contours_and_segments_are_those_of_the_nifti_files(predictions, caplog):
    folder, ct_hu, masks = predictions
    with caplog.at_level(logging.INFO):
        WriteSyntheticCt(TASKS, folder, model="mr_ct sfg")(None)
    made = folder / "P001" / "dicom"
    assert {path.name for path in made.iterdir()} == {*(f"CT.{n:04d}.dcm" for n in range(1, 9)), "RS.dcm", "SEG.dcm"}
    image = sitk_image(made)
    affine = ras_of(image)
    as_nifti = nib.as_closest_canonical(nib.Nifti1Image(sitk.GetArrayFromImage(image).T, affine))
    assert np.abs(np.asanyarray(as_nifti.dataobj) - ct_hu).max() <= 0.5
    np.testing.assert_allclose(as_nifti.affine, AFFINE, atol=1e-4)
    structures = pydicom.dcmread(made / "RS.dcm")
    numbers = {roi.ROIName: roi.ROINumber for roi in structures.StructureSetROISequence}
    assert set(numbers) == {"Prostate", "Bladder"}
    for name, number in numbers.items():
        drawn = nib.Nifti1Image(rasterized(structures, number, image.GetSize(), affine).astype(np.uint8), affine)
        assert np.array_equal(np.asanyarray(nib.as_closest_canonical(drawn).dataobj) > 0, masks[name])
    segments = pydicom.dcmread(made / "SEG.dcm")
    assert [each.SegmentLabel for each in segments.SegmentSequence] == ["Prostate", "Bladder"]
    assert segments.pixel_array.sum() == masks["Prostate"].sum() + masks["Bladder"].sum()
    assert "Rectum not found, so not written as DICOM" in caplog.text
    header = pydicom.dcmread(made / "CT.0001.dcm")
    assert (header.PatientID, header.ManufacturerModelName) == ("P001", "mr_ct sfg")
    for other in (structures, segments):
        assert other.FrameOfReferenceUID == header.FrameOfReferenceUID
        assert other.StudyInstanceUID == header.StudyInstanceUID
    contour = structures.ROIContourSequence[0].ContourSequence[0]
    uids = {pydicom.dcmread(path).SOPInstanceUID for path in made.glob("CT.*.dcm")}
    assert contour.ContourImageSequence[0].ReferencedSOPInstanceUID in uids


def test_pydicom_simpleitk_and_itk_read_the_hu_of_the_nifti_file(predictions):
    import itk  # takes seconds

    folder, ct_hu, _ = predictions
    WriteSyntheticCt(TASKS, folder, formats=["ct"])(None)
    files = sorted((folder / "P001" / "dicom").glob("CT.*.dcm"))
    read = [pydicom.dcmread(path) for path in files]
    by_pydicom = np.stack([one.pixel_array * one.RescaleSlope + one.RescaleIntercept for one in read])
    by_itk = itk.imread([str(path) for path in files], itk.F)
    by_sitk = sitk_image(folder / "P001" / "dicom")
    np.testing.assert_array_equal(by_pydicom, sitk.GetArrayFromImage(by_sitk))
    np.testing.assert_array_equal(by_pydicom, itk.array_from_image(by_itk))
    np.testing.assert_allclose(by_itk.GetOrigin(), by_sitk.GetOrigin(), atol=1e-4)
    np.testing.assert_allclose(by_itk.GetSpacing(), by_sitk.GetSpacing(), atol=1e-4)
    as_nifti = nib.as_closest_canonical(nib.Nifti1Image(by_pydicom.T, ras_of(by_sitk)))
    np.testing.assert_allclose(np.asanyarray(as_nifti.dataobj), ct_hu, atol=0.5)


def test_dciodvfy_finds_no_error(predictions):
    WriteSyntheticCt(TASKS, predictions[0])(None)
    for name in ("CT.0003.dcm", "RS.dcm", "SEG.dcm"):
        assert errors_but_synthetic(predictions[0] / "P001" / "dicom" / name) == [], name


def test_the_ct_of_a_dicom_mr_is_of_its_patient_and_refers_to_it(tmp_path, caplog):
    patient = Patient(position="HFP", slices=8, rows=17, columns=21)
    patient.write(tmp_path / "mr", rtstruct=None, rtplan=None, rtdose=None)
    for path in (tmp_path / "mr").rglob("*"):
        if path.is_file():
            image = pydicom.dcmread(path)
            image.Modality, image.SOPClassUID = "MR", CLASSES["MR"]
            image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID
            image.save_as(path)
    mr = CtReference.read(tmp_path / "mr", modality="MR")
    file = tmp_path / "cache" / "pt_1.case"
    write_case(file, Case("pt_1", {"mr": np.zeros(SHAPE, np.int16)}, {}, mr.affine_ras))
    paths = {pydicom.dcmread(path).SOPInstanceUID: path for path in (tmp_path / "mr").rglob("*") if path.is_file()}
    uids = tuple(header.SOPInstanceUID for header in mr.headers)
    write_source(CtSource("pt_1", SHAPE, mr.affine_ras, tuple(paths[uid] for uid in uids), uids), file)
    case, *_ = write_predictions(tmp_path / "out", "pt_1", mr.affine_ras, source=file)
    write_index(tmp_path / "out", TASKS, [case])
    with caplog.at_level(logging.DEBUG):
        WriteSyntheticCt(TASKS, tmp_path / "out")(None)
    images = [pydicom.dcmread(path) for path in sorted((tmp_path / "out" / "pt_1" / "dicom").glob("CT.*.dcm"))]
    named = [image.SourceImageSequence[0].ReferencedSOPInstanceUID for image in images]
    assert named == sorted(uids, key=lambda uid: float(pydicom.dcmread(paths[uid]).ImagePositionPatient[2]))
    for name in ("PatientName", "PatientID", "StudyInstanceUID", "FrameOfReferenceUID", "PatientPosition"):
        assert {str(image[name].value) for image in images} == {str(mr.first[name].value)}
    assert str(mr.first.PatientName) not in caplog.text
    assert str(mr.first.PatientID) not in caplog.text


def test_earlier_dicom_is_moved_aside(predictions):
    folder = predictions[0] / "P001"
    handler = WriteSyntheticCt(TASKS, predictions[0], ["ct"])
    handler(None)
    first = (folder / "dicom" / "CT.0001.dcm").read_bytes()
    handler(None)
    assert (folder / "dicom.1" / "CT.0001.dcm").read_bytes() == first
    assert {path.name for path in (folder / "dicom").iterdir()} == {f"CT.{n:04d}.dcm" for n in range(1, 9)}


def test_one_case_that_cannot_be_written_does_not_stop_the_others(tmp_path, caplog):
    good = write_predictions(tmp_path, "P001")[0]
    bad = write_predictions(tmp_path, "P002", spoil=1e5)[0]
    bad.files["ct"]["ct"].write_bytes(b"damaged")
    write_index(tmp_path, TASKS, [bad, good])
    WriteSyntheticCt(TASKS, tmp_path, ["ct"])(None)
    assert "P002: not written as DICOM" in caplog.text
    assert (tmp_path / "P001" / "dicom" / "CT.0008.dcm").is_file()
    assert not (tmp_path / "P002" / "dicom").exists()
    write_index(tmp_path, TASKS, [bad])
    with pytest.raises(DataError, match="nothing was written as DICOM for any of 1 cases"):
        WriteSyntheticCt(TASKS, tmp_path, ["ct"])(None)


def test_without_formats_nothing_is_written(predictions):
    WriteSyntheticCt(TASKS, predictions[0], [])(None)
    assert not (predictions[0] / "P001" / "dicom").exists()


@pytest.mark.parametrize(
    ("tasks", "formats", "message"),
    [
        (TASKS, ["rtstruct"], r"expected \[\] for NIfTI alone, or \[ct\]"),
        (TASKS, ["ct", "rtdose"], "expected"),
        (TASKS, "ct", "expected"),
        ((ORGANS,), ["ct"], r"one voxel-level Regression in HU, found \[\]"),
    ],
)
def test_formats_that_cannot_be_filled_are_refused_before_predicting(tmp_path, tasks, formats, message):
    with pytest.raises(ConfigError, match=message):
        WriteSyntheticCt(tasks, tmp_path, formats)
