"""MR, CT and structures in DICOM: the cases that the same arrays make as NIfTI, or a reason why there is none."""

import logging

import numpy as np
import pytest
from mr_dicom import DicomPatient
from pydicom import dcmread

from ctan_monai.data.cases.cache import read_case_file
from ctan_monai.data.datasets.mr_ct.datalist import mr_ct_datalist, mr_inference_list
from ctan_monai.data.dicom.write import CtReference, Origin, write_rtstruct
from ctan_monai.data.formats.ct_source import read_source
from ctan_monai.errors import DataError

TRAIN = {"splits": ["train"], "split_fractions": [1.0, 0.0, 0.0], "workers": 1, "progress": False}


@pytest.fixture
def patient(tmp_path):
    return DicomPatient(tmp_path / "in")


def write_mr(patient, drawn, **more):
    return patient.write("MR", np.rint(drawn.mr), drawn.affine, **more)


def infer(patient, tmp_path, **more):
    return mr_inference_list(patient.folder, tmp_path / "cache", workers=1, **more)


def train(patient, tmp_path):
    found = mr_ct_datalist(patient.folder, tmp_path / "cache", **TRAIN)
    return [read_case_file(item["file"]) for item in found["train"]]


def pair(patient, drawn, frame_uid=None, affine=None, drawn_on=True):
    """Write an MR, a CT and its structure set."""
    write_mr(patient, drawn)
    affine = drawn.affine if affine is None else affine
    patient.write("CT", np.rint(drawn.ct), affine, number=2, frame_uid=frame_uid, intercept=-1024.0)
    if drawn_on:
        reference = CtReference.read(patient.folder / "CT")
        origin = Origin("DRAWN", "drawn by hand", "test", generation="MANUAL")
        write_rtstruct({"Femur_L": drawn.bone}, affine, reference, patient.folder / "RS.dcm", origin)


def as_nifti(drawn, tmp_path):
    """Return the case that the same arrays make as NIfTI."""
    drawn.pair()
    found = mr_ct_datalist(drawn.folder.parent, tmp_path / "cache_nifti", **TRAIN)["train"]
    return read_case_file(found[0]["file"])


def check_same(one, other, names):
    """See that two cases have the same grid, volumes and masks."""
    np.testing.assert_allclose(one.affine_ras, other.affine_ras, atol=1e-4)
    for name in names:
        first, second = (each.volumes.get(name, each.masks.get(name)) for each in (one, other))
        np.testing.assert_array_equal(first, second)
    assert one.meta["percentiles"] == other.meta["percentiles"]


@pytest.mark.parametrize("slope", [1.0, 0.5])
def test_an_mr_series_makes_the_case_that_its_nifti_makes(patient, drawn, tmp_path, slope):
    files = write_mr(patient, drawn, slope=slope)
    (item,) = infer(patient, tmp_path)
    drawn.write("mr", np.rint(drawn.mr).astype(np.int16))
    (nifti,) = mr_inference_list(drawn.folder, tmp_path / "cache", workers=1)
    check_same(read_case_file(item["file"]), read_case_file(nifti["file"]), ["mr", "ct_region"])
    assert item["case"].startswith("pt_")
    source = read_source(item["file"])
    assert [path.name for path in source.files] == [path.name for path in files]
    assert source.sop_uids == tuple(dcmread(path).SOPInstanceUID for path in files)
    assert infer(patient, tmp_path) == [item]


def test_mr_ct_and_structures_make_the_case_that_their_nifti_makes(patient, drawn, tmp_path):
    pair(patient, drawn)
    (case,) = train(patient, tmp_path)
    check_same(case, as_nifti(drawn, tmp_path), ["mr", "ct", "Femur_L", "ct_region"])
    assert set(case.masks) == {"Femur_L", "ct_region"}


def draw_on_the_mr(patient, drawn, name="Bladder", file="RS_MR.dcm"):
    reference = CtReference.read(patient.folder / "MR", modality="MR")
    origin = Origin("DRAWN", "drawn by hand", "test", generation="MANUAL")
    write_rtstruct({name: drawn.bone}, drawn.affine, reference, patient.folder / file, origin)


@pytest.mark.parametrize("on_ct", [True, False])
def test_structures_that_were_drawn_on_the_mr_count_too(patient, drawn, tmp_path, on_ct):
    elsewhere = None if on_ct else "1.2.3.4"
    pair(patient, drawn, frame_uid=elsewhere, drawn_on=on_ct)
    if not on_ct:  # and the CT lies in another frame of reference
        patient.register("1.2.3.4", patient.frame_uid, [np.eye(4)])
    draw_on_the_mr(patient, drawn)
    (case,) = train(patient, tmp_path)
    assert set(case.masks) == {"Bladder", "ct_region", *(["Femur_L"] if on_ct else [])}
    np.testing.assert_array_equal(case.masks["Bladder"], as_nifti(drawn, tmp_path).masks["Femur_L"])


def test_a_structure_that_was_drawn_on_mr_and_ct_is_refused(patient, drawn, tmp_path):
    pair(patient, drawn)
    draw_on_the_mr(patient, drawn, "Femur_L")
    with pytest.raises(DataError, match=r"Femur_L was drawn on the MR and on the CT"):
        train(patient, tmp_path)


def test_a_registration_brings_the_ct_to_the_mr(patient, drawn, tmp_path):
    turn = np.eye(4)
    angle = np.radians(7)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    turn[:3, 3] = [31, -12, 8]  # from the CT's frame to the MR's, LPS mm
    flip = np.diag([-1.0, -1.0, 1.0, 1.0])
    there = flip @ np.linalg.inv(turn) @ flip @ drawn.affine
    pair(patient, drawn, frame_uid="1.2.3.4", affine=there)
    with pytest.raises(DataError, match=r"none of 0 spatial registration objects relates them"):
        train(patient, tmp_path)
    patient.register("1.2.3.4", patient.frame_uid, [turn])
    (case,) = train(patient, tmp_path)
    check_same(case, as_nifti(drawn, tmp_path), ["mr", "ct", "Femur_L", "ct_region"])
    assert any("spatial registration object" in note for note in case.meta["notes"])


@pytest.mark.parametrize(
    ("matrices", "message"),
    [([np.diag([1.2, 1, 1, 1])], "is not rigid"), ([np.eye(4), np.eye(4)], "has 2 matrices, expected one")],
)
def test_a_registration_that_is_not_one_rigid_matrix_is_refused(patient, drawn, tmp_path, matrices, message):
    pair(patient, drawn, frame_uid="1.2.3.4", drawn_on=False)
    patient.register("1.2.3.4", patient.frame_uid, matrices)
    with pytest.raises(DataError, match=message):
        train(patient, tmp_path)


def test_of_several_series_one_has_to_be_named(patient, drawn, tmp_path):
    write_mr(patient, drawn, name="t2 tse", number=4)
    write_mr(patient, drawn, name="t1 vibe", number=7)
    patient.write("MR", np.rint(drawn.mr)[..., :1], drawn.affine, name="scout", number=1)
    with pytest.raises(DataError, match=r"its study has 2 MR series: SeriesNumber \d \(6 images\), SeriesNumber \d"):
        infer(patient, tmp_path)
    (by_name,), (by_number,) = infer(patient, tmp_path, mr="T2 TSE"), infer(patient, tmp_path, mr="4")
    assert by_name == by_number
    assert "t2 tse" in str(read_source(by_name["file"]).files[0])
    with pytest.raises(DataError, match="there is no MR series called t3"):
        infer(patient, tmp_path, mr="t3")


def test_what_is_wrong_with_one_series_leaves_the_others(patient, drawn, tmp_path, caplog):
    other = DicomPatient(patient.folder / "other", "MRN-78")
    write_mr(other, drawn)
    files = write_mr(patient, drawn)
    files[2].unlink()
    with pytest.raises(DataError, match=r"1 slices of the MR series are missing"):
        infer(patient, tmp_path)
    with caplog.at_level(logging.INFO):
        (item,) = infer(patient, tmp_path, on_error="skip")
    assert read_source(item["file"]).files[0].parent.parent == other.folder
    for private in ("MRN-77", "MRN-78", "Doe", str(files[0].name)):
        assert private not in caplog.text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.4.1"}, "SOP class is Enhanced MR Image Storage"),
        ({"FrameOfReferenceUID": "1.2.3"}, "frame of reference"),
        ({"PixelSpacing": None}, "PixelSpacing is absent"),
        ({"ImagePositionPatient": [0, 0, 4.4]}, "lie .* mm apart|beside a straight"),
    ],
)
def test_images_that_make_no_volume_are_refused(patient, drawn, tmp_path, change, message):
    files = write_mr(patient, drawn)
    image = dcmread(files[3])
    for name, value in change.items():
        if value is None:
            del image[name]
        else:
            setattr(image, name, value)
    image.save_as(files[3])
    with pytest.raises(DataError, match=message) as caught:
        infer(patient, tmp_path)
    assert "CT series" not in str(caught.value)


def test_an_enhanced_mr_is_refused_by_name_with_the_remedy(patient, drawn, tmp_path):
    pair(patient, drawn)
    files = write_mr(patient, drawn)
    image, pixels = dcmread(files[0]), [dcmread(path).PixelData for path in files]
    for path in files[1:]:
        path.unlink()
    for name in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness"):
        delattr(image, name)  # they are in functional groups, for each frame
    image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID = "1.2.840.10008.5.1.4.1.1.4.1"
    image.NumberOfFrames, image.PixelData = len(pixels), b"".join(pixels)
    image.save_as(files[0])
    for read in (infer, train):
        with pytest.raises(
            DataError, match=r"Enhanced MR Image Storage.*Export the series as single images, or convert"
        ):
            read(patient, tmp_path)


def test_two_echoes_at_one_place_are_refused(patient, drawn, tmp_path):
    first = write_mr(patient, drawn, name="one")
    second = patient.write("MR", np.rint(drawn.mr / 2), drawn.affine, name="two")
    uid = dcmread(first[0]).SeriesInstanceUID
    for path in second:
        image = dcmread(path)
        image.SeriesInstanceUID = uid
        image.save_as(path)
    with pytest.raises(DataError, match="two slices at the same place have different pixels"):
        infer(patient, tmp_path)


def test_a_damaged_file_beside_the_images_is_no_reason_to_go_on(patient, drawn, tmp_path):
    files = write_mr(patient, drawn)
    files[-1].write_bytes(files[-1].read_bytes()[:150])
    with pytest.raises(DataError, match="1 files beside its images look like DICOM and cannot be read"):
        infer(patient, tmp_path)


def test_a_folder_with_neither_nifti_nor_dicom_is_named(tmp_path):
    (tmp_path / "notes.txt").write_text("nothing", encoding="utf-8")
    with pytest.raises(DataError, match=r"no MR was found; looked for .* and DICOM"):
        mr_inference_list(tmp_path, tmp_path / "cache")
    with pytest.raises(DataError, match="no patient was found"):
        mr_ct_datalist(tmp_path, tmp_path / "cache")
