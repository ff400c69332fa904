"""From a CT in DICOM to DICOM objects that other programs find where the patient is."""

import csv
import json
import logging

import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from dicom_phantoms import CLASSES, STRUCTURES, Patient, dose_at
from dicom_validity import dice, errors_of, rasterized
from known_anatomy import DOSE, EXCLUSIVE, ORGANS, TASKS, depth_mm, predict, write_ct

from ctan_monai.data.dicom.read.link import link
from ctan_monai.data.dicom.read.options import DicomOptions
from ctan_monai.data.dicom.read.patient import read_patient
from ctan_monai.data.dicom.read.scan import scan
from ctan_monai.data.dicom.read.select import select
from ctan_monai.engines.predictions.dicom_writer import WriteDicom
from ctan_monai.errors import ConfigError, DataError
from ctan_monai.tasks import Classification, Regression

LAYINGS = {
    "HFS": {},
    "HFP": {"position": "HFP"},
    "FFS": {"position": "FFS"},
    "FFDR": {"position": "FFDR"},
    "oblique": {"tilt_deg": 12.0},
    # small pixels: contours along the edges of voxels come back on a grid that is shifted by a part of one
    "tilted gantry": {"lean_deg": 12.0, "rows": 190, "columns": 250, "pixel_mm": (0.45, 0.5), "slices": 12},
}


def read_back(folder):
    """Read CT and predictions below a folder as a patient of training is read, on the CT's grid."""
    options = DicomOptions(axcodes=None)
    (linked,), unlinked = link(scan(folder, progress=False).objects, predicted=True)
    assert not [each for each in unlinked if each.header.kind != "seg"]
    return read_patient(select(linked, options), "back", options)


def case_folder(out):
    """Return the folder of the only case."""
    (folder,) = [path for path in out.iterdir() if path.is_dir()]
    return folder


@pytest.mark.parametrize("laying", LAYINGS.values(), ids=LAYINGS)
def test_masks_and_dose_come_back_through_the_whole_path_however_the_patient_lies(tmp_path, laying):
    patient = Patient(**laying)
    write_ct(patient, tmp_path / "in")
    found = case_folder(predict(tmp_path / "in", tmp_path, formats=["rtstruct", "rtdose"]))
    back = read_back(tmp_path)
    points = Patient.points(back.shape, back.affine_ras)
    inside = back.volumes["ct"] > -1024  # a straightened stack has corners that no image holds
    for name, shapes in STRUCTURES.items():
        assert dice(back.masks[name], np.any([shape.inside(points) for shape in shapes], axis=0)) >= 0.99, name
    step_gy = float(pydicom.dcmread(found / "RD.dcm").DoseGridScaling)
    known = back.masks["dose_region"] & inside
    if "lean_deg" in laying:  # at the rim of a leaning stack the upright dose grid holds interpolations with nothing
        known = back.masks["dose_region"] & (np.abs(points - patient.center) < [35, 25, 22]).all(-1)
    assert known.mean() > (0.1 if "lean_deg" in laying else 0.99)
    away_gy = np.abs(back.volumes["dose"] - dose_at(points))[known]
    assert away_gy.max() <= step_gy / 2 + 2e-5  # float32 of 50 Gy


def test_predictions_beside_a_patients_own_objects_are_not_taken_for_what_was_contoured_and_planned(tmp_path):
    patient = Patient()
    patient.write(tmp_path / "in")
    predict(tmp_path / "in", tmp_path, without=["CTV"], formats=["rtstruct", "rtdose"])
    options = DicomOptions(axcodes=None)
    (linked,), unlinked = link(scan(tmp_path, progress=False).objects)
    study = select(linked, options)
    assert study.structure_set.sop_uid == patient.struct_uid
    assert [dose.sop_uid for group in study.plan_doses for dose in group.doses] == [patient.dose_uid]
    assert sorted(each.header.kind for each in unlinked) == ["RTDOSE", "RTPLAN", "RTSTRUCT"]
    assert {each.reason for each in unlinked} == {
        "a network of this software predicted it; nothing is trained on that."
    }


@pytest.mark.parametrize("tasks", [TASKS, (EXCLUSIVE, DOSE)], ids=["overlapping", "exclusive"])
def test_coarser_pixels_of_a_network_give_smooth_edges_on_the_ct(tmp_path, tasks):
    patient = Patient(position="HFDL", pixel_mm=(0.9, 1.1), rows=125, columns=101)
    write_ct(patient, tmp_path / "in")
    predict(tmp_path / "in", tmp_path, tasks, pixel_mm=2.0, formats=["rtstruct", "rtdose"])
    back = read_back(tmp_path)
    points = Patient.points(back.shape, back.affine_ras)
    assert back.shape == (125, 101, 24)
    depth = {name: depth_mm(shapes, points) for name, shapes in STRUCTURES.items()}
    for name, own in depth.items():
        expected = own >= 0 if tasks[0].overlapping else (own > 0) & (own == np.max(list(depth.values()), axis=0))
        assert dice(back.masks[name], expected) >= 0.99, name
    away_gy = np.abs(back.volumes["dose"] - dose_at(points))
    assert away_gy[2:-2, 2:-2].max() < 0.002  # a linear dose; at the rim the last pixel counts on


@pytest.fixture(scope="module")
def decubitus(tmp_path_factory):
    """Everything that is written for a patient who lies on the side, foot first."""
    folder = tmp_path_factory.mktemp("decubitus")
    write_ct(Patient(position="FFDL"), folder / "in")
    out = predict(folder / "in", folder, formats=["rtstruct", "rtdose", "seg", "nifti"], model="prostate known")
    return folder / "in", out


def ct_image(folder):
    """Read the CT with SimpleITK."""
    files = {}
    for path in (path for path in folder.rglob("*") if path.is_file()):
        header = pydicom.dcmread(path, stop_before_pixels=True)
        normal = np.cross(*np.array(header.ImageOrientationPatient, float).reshape(2, 3))
        files[float(np.array(header.ImagePositionPatient, float) @ normal)] = str(path)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames([files[place] for place in sorted(files)])
    return reader.Execute()


def affine_of(image):
    """Return (column, row, slice) -> RAS mm of an image of SimpleITK's."""
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine


def test_simpleitk_and_itk_find_dose_and_segments_on_the_ct(decubitus):
    import itk

    folder, out = decubitus
    ct, case = ct_image(folder), case_folder(out)
    dose = sitk.ReadImage(str(case / "RD.dcm"))
    assert dose.GetSize() == ct.GetSize()
    np.testing.assert_allclose(affine_of(dose), affine_of(ct), atol=1e-4)
    by_itk = itk.imread(str(case / "RD.dcm"))
    np.testing.assert_allclose(by_itk.GetOrigin(), ct.GetOrigin(), atol=1e-4)
    np.testing.assert_allclose(by_itk.GetSpacing(), ct.GetSpacing(), atol=1e-4)
    np.testing.assert_allclose(itk.array_from_matrix(by_itk.GetDirection()).ravel(), ct.GetDirection(), atol=1e-4)
    segments = pydicom.dcmread(case / "SEG.dcm")
    assert segments.FrameOfReferenceUID == pydicom.dcmread(case / "RS.dcm").FrameOfReferenceUID
    assert [each.SegmentLabel for each in segments.SegmentSequence] == list(STRUCTURES)


def test_another_reader_finds_the_same_volumes_and_doses(decubitus):
    folder, out = decubitus
    ct, case = ct_image(folder), case_folder(out)
    scaling = float(pydicom.dcmread(case / "RD.dcm").DoseGridScaling)
    dose_gy = sitk.GetArrayFromImage(sitk.ReadImage(str(case / "RD.dcm"))).astype(float).T * scaling
    structures = pydicom.dcmread(case / "RS.dcm")
    numbers = {roi.ROIName: roi.ROINumber for roi in structures.StructureSetROISequence}
    rows = {row["structure"]: row for row in csv.DictReader((out / "written.csv").open())}
    assert set(rows) == set(numbers) == set(STRUCTURES)
    for name, row in rows.items():
        mask = rasterized(structures, numbers[name], ct.GetSize(), affine_of(ct))
        assert float(row["volume_cc"]) == pytest.approx(mask.sum() * np.prod(ct.GetSpacing()) / 1000, abs=2e-3)
        inside = dose_gy[mask]
        for column, value in (("mean_gy", inside.mean()), ("min_gy", inside.min()), ("max_gy", inside.max())):
            assert float(row[column]) == pytest.approx(value, abs=scaling + 6e-4)  # three decimals in the table


def test_nifti_lies_on_the_cts_own_grid_beside_the_ct(decubitus):
    folder, out = decubitus
    ct, case = ct_image(folder), case_folder(out)
    for name in ("ct", "dose", *STRUCTURES):
        image = nib.load(case / "nifti" / f"{name}.nii.gz")
        assert image.shape == ct.GetSize()
        np.testing.assert_allclose(image.affine, affine_of(ct), atol=1e-4)
    written = np.asanyarray(nib.load(case / "nifti" / "ct.nii.gz").dataobj)
    np.testing.assert_array_equal(written, sitk.GetArrayFromImage(ct).T)


@pytest.mark.parametrize("name", ["RS.dcm", "RP.dcm", "RD.dcm", "SEG.dcm"])
def test_dciodvfy_finds_no_error(decubitus, name):
    assert errors_of(case_folder(decubitus[1]) / name) == []


def test_objects_refer_to_each_other_and_to_the_ct(decubitus):
    folder, out = decubitus
    case = case_folder(out)
    rs, rp, rd = (pydicom.dcmread(case / name) for name in ("RS.dcm", "RP.dcm", "RD.dcm"))
    image = pydicom.dcmread(next(path for path in folder.rglob("*") if path.is_file()), stop_before_pixels=True)
    assert rd.ReferencedRTPlanSequence[0].ReferencedSOPInstanceUID == rp.SOPInstanceUID
    assert rp.ReferencedStructureSetSequence[0].ReferencedSOPInstanceUID == rs.SOPInstanceUID
    for made in (rs, rp, rd):
        assert made.FrameOfReferenceUID == image.FrameOfReferenceUID
        assert (made.PatientID, made.PatientName, made.StudyInstanceUID) == (
            image.PatientID,
            image.PatientName,
            image.StudyInstanceUID,
        )
        assert made.ManufacturerModelName == "prostate known"
    assert (rs.ApprovalStatus, rp.ApprovalStatus) == ("UNAPPROVED", "UNAPPROVED")
    assert "not for clinical use" in rs.StructureSetName
    assert rd.SOPClassUID == CLASSES["RTDOSE"]
    assert "not for clinical use" in rd.DoseComment


def test_the_patient_is_named_in_the_objects_and_nowhere_else(tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    write_ct(Patient(patient_id="MRN-4711"), tmp_path / "in")
    out = predict(tmp_path / "in", tmp_path, formats=["rtstruct", "rtdose", "nifti"])
    assert pydicom.dcmread(case_folder(out) / "RS.dcm").PatientID == "MRN-4711"
    told = caplog.text + (out / "written.csv").read_text() + (out / "written.json").read_text()
    told += " ".join(path.name for path in tmp_path.rglob("*"))
    assert "4711" not in told
    assert "Doe" not in told


def test_an_organ_that_is_not_found_is_not_written_but_said(tmp_path, caplog):
    write_ct(Patient(), tmp_path / "in")
    out = predict(tmp_path / "in", tmp_path, without=["Bladder"])
    structures = pydicom.dcmread(case_folder(out) / "RS.dcm")
    assert "Bladder" not in [roi.ROIName for roi in structures.StructureSetROISequence]
    rows = {row["structure"]: row for row in csv.DictReader((out / "written.csv").open())}
    assert (rows["Bladder"]["status"], rows["Bladder"]["volume_cc"], rows["Bladder"]["mean_gy"]) == ("empty", "0.0", "")
    assert rows["CTV"]["status"] == "found"
    assert "Bladder not found, so not written" in caplog.text


def test_with_no_organ_at_all_the_dose_is_written_with_a_plan_that_refers_to_no_structures(tmp_path):
    write_ct(Patient(), tmp_path / "in")
    case = case_folder(predict(tmp_path / "in", tmp_path, without=list(STRUCTURES)))
    assert {path.name for path in case.iterdir()} == {"RP.dcm", "RD.dcm"}
    plan = pydicom.dcmread(case / "RP.dcm")
    assert "ReferencedStructureSetSequence" not in plan
    assert pydicom.dcmread(case / "RD.dcm").ReferencedRTPlanSequence[0].ReferencedSOPInstanceUID == plan.SOPInstanceUID


def test_nothing_is_ever_replaced(tmp_path):
    write_ct(Patient(), tmp_path / "in")
    options = {"formats": ["rtstruct", "rtdose", "nifti"]}
    case = case_folder(predict(tmp_path / "in", tmp_path, **options))
    before = {path: path.read_bytes() for path in case.rglob("*") if path.is_file()}
    with pytest.raises(DataError, match=r"nothing was written .* is not replaced"):
        predict(tmp_path / "in", tmp_path, without=["Bladder"], **options)
    assert {path: path.read_bytes() for path in case.rglob("*") if path.is_file()} == before


def test_what_fails_for_one_ct_is_noted_and_the_others_go_on(tmp_path, monkeypatch, caplog):
    for number in (1, 2):
        write_ct(Patient(patient_id=str(number)), tmp_path / "in" / str(number))
    cache = tmp_path / "cache"
    from ctan_monai.data.datasets.dicom_rt.inference import dicom_inference_list

    gone = dicom_inference_list(tmp_path / "in" / "1", cache, None, progress=False)[0]["case"]
    real = WriteDicom._write

    def without_files(self, case, found, source):
        for path in source.files if case == gone else ():
            path.unlink()
        return real(self, case, found, source)

    monkeypatch.setattr(WriteDicom, "_write", without_files)
    out = predict(tmp_path / "in", tmp_path)
    entries = {entry["case"]: entry for entry in json.loads((out / "written.json").read_text())["cases"]}
    assert len(entries) == 2
    assert entries[gone]["files"] == {}
    assert "DICOM" in entries[gone]["problems"][0]
    (other,) = set(entries) - {gone}
    assert set(entries[other]["files"]) == {"rtstruct", "rtplan", "rtdose", "seg"}
    assert f"{gone}: not written: DICOM" in caplog.text


def test_a_mended_ct_gets_contours_on_the_slices_that_are_missing_too(tmp_path):
    patient = Patient()
    images = patient.ct()
    patient.write(tmp_path / "in", ct=images[:10] + images[11:], rtstruct=None, rtplan=None, rtdose=None)
    out = predict(tmp_path / "in", tmp_path, repair=True, formats=["rtstruct", "rtdose", "seg"])
    (entry,) = json.loads((out / "written.json").read_text())["cases"]
    assert set(entry["files"]) == {"rtstruct", "rtplan", "rtdose"}
    assert entry["problems"][0].startswith("seg:")  # which can only refer to images
    dose = pydicom.dcmread(case_folder(out) / "RD.dcm")
    assert dose.NumberOfFrames == 24
    np.testing.assert_allclose(np.diff(np.array(dose.GridFrameOffsetVector, float)), 2.5, atol=1e-6)
    structures = pydicom.dcmread(case_folder(out) / "RS.dcm")
    (target,) = [roi for roi in structures.ROIContourSequence if roi.ReferencedROINumber == 5]
    heights = {round(float(contour.ContourData[2]), 3) for contour in target.ContourSequence}
    assert round(float(patient.corner(10)[2]), 3) in heights


def test_a_nifti_ct_gets_nifti_on_its_own_grid(tmp_path):
    patient = Patient(rows=40, columns=52)
    affine_ras = np.array([[-2.0, 0, 0, 50], [0, 0, 2.5, -45], [0, 2.2, 0, -40], [0, 0, 0, 1]])  # x, z, y
    ct = np.full((50, 36, 36), -200, np.int16)
    ct[20:30, 5] = 40
    nib.save(nib.Nifti1Image(ct, affine_ras), tmp_path / "somebody.nii.gz")
    out = predict(tmp_path / "somebody.nii.gz", tmp_path, pixel_mm=2.0)
    assert {path.name for path in case_folder(out).iterdir()} == {"nifti"}
    points = patient.points(ct.shape, affine_ras)
    for name in STRUCTURES:
        image = nib.load(out / "somebody" / "nifti" / f"{name}.nii.gz")
        np.testing.assert_allclose(image.affine, affine_ras, atol=1e-4)
        expected = np.any([shape.inside(points) for shape in STRUCTURES[name]], axis=0)
        assert dice(np.asanyarray(image.dataobj) > 0, expected) >= 0.99
    np.testing.assert_array_equal(np.asanyarray(nib.load(out / "somebody" / "nifti" / "ct.nii.gz").dataobj), ct)


@pytest.mark.parametrize(
    ("tasks", "formats", "message"),
    [
        (TASKS, ["rtplan"], r"expected a list of some of \['rtstruct', 'rtdose', 'seg', 'nifti'\]"),
        (TASKS, "rtdose", "expected a list"),
        (TASKS, [], "expected a list"),
        ((ORGANS,), ["rtdose"], "rtdose needs one voxel-level Regression in Gy"),
        ((ORGANS, Regression("density", "HU", 1000.0)), ["rtdose"], "rtdose needs one"),
        ((DOSE,), ["seg"], "need a Segmentation"),
        ((DOSE, Classification("stage", ["a", "b"])), ["rtstruct"], "need a Segmentation"),
    ],
)
def test_formats_that_cannot_be_filled_are_refused_before_anything_is_predicted(tmp_path, tasks, formats, message):
    with pytest.raises(ConfigError, match=message):
        WriteDicom(tasks, tmp_path, formats)


def test_without_highdicom_it_is_said_before_anything_is_predicted(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r'pip install -e "\.\[dicom\]" .*or pip install highdicom'):
        WriteDicom(TASKS, tmp_path)
    WriteDicom(TASKS, tmp_path, ["rtstruct", "rtdose"])
