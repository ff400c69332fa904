from __future__ import annotations

import logging

import itk
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from dicom_validity import errors_of

from ctan_monai.data.dicom.write import CtReference, write_rtdose
from ctan_monai.errors import DataError

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
PLAN = "1.2.3.4.5"


@pytest.fixture(scope="module")
def dose_gy():
    """(c, r, k): nothing in it is symmetric."""
    i, j, k = np.meshgrid(np.arange(14), np.arange(11), np.arange(7), indexing="ij")
    return (61.7 * np.exp(-((i - 6.2) ** 2 + 1.7 * (j - 4) ** 2 + 2.5 * (k - 2.6) ** 2) / 40)).astype(np.float32)


@pytest.fixture(scope="module")
def affine_ras(references):
    """Grids of their own: coarser than the CT, shifted by fractions of a voxel."""

    def grid(position):
        change = np.diag([1.7, 1.3, 0.8, 1.0])
        change[:3, 3] = (-2.3, 1.6, 0.9)
        return references(position).affine_ras @ change

    return grid


@pytest.mark.parametrize("bits", [16, 32])
@pytest.mark.parametrize("position", ["HFS", "FFS", "HFP", "HFDL", "oblique"])
def test_what_is_read_back_lies_there_and_differs_by_half_a_step(
    references, origin, fixed, tmp_path, dose_gy, affine_ras, position, bits
):
    affine = affine_ras(position)
    path = tmp_path / "d.dcm"
    write_rtdose(dose_gy, affine, references(position), path, origin, plan_uid=PLAN, bits=bits, **fixed)
    step = float(pydicom.dcmread(path).DoseGridScaling)
    assert step == pytest.approx(dose_gy.max() / (2**bits - 1), rel=1e-6)
    read = sitk.ReadImage(str(path), sitk.sitkFloat64)  # stored numbers; SimpleITK leaves the scaling out
    found_gy = sitk.GetArrayFromImage(read).T * step
    assert np.abs(found_gy - dose_gy).max() <= step / 2 * (1 + 1e-6)
    other = itk.imread(str(path), itk.D)
    for index in ((0, 0, 0), (13, 2, 6), (4, 10, 1)):
        place = (LPS @ affine @ (*index, 1))[:3]
        assert read.TransformIndexToPhysicalPoint(index) == pytest.approx(place, abs=1e-3)
        assert list(other.TransformIndexToPhysicalPoint(index)) == pytest.approx(place, abs=1e-3)


def test_axes_in_another_order_give_the_same_file(reference, origin, tmp_path, dose_gy, affine_ras, fixed):
    affine = affine_ras("HFS")
    turned = np.flip(dose_gy.transpose(2, 0, 1), 0)
    back = np.array([[0, 1, 0, 0], [0, 0, 1, 0], [-1, 0, 0, dose_gy.shape[2] - 1], [0, 0, 0, 1.0]])
    for name, array, matrix in (("a", dose_gy, affine), ("b", turned, affine @ back)):
        write_rtdose(array, matrix, reference, tmp_path / name, origin, plan_uid=PLAN, clock=fixed["clock"])
    first, second = (pydicom.dcmread(tmp_path / name) for name in "ab")
    assert first.PixelData == second.PixelData
    assert first.ImagePositionPatient == second.ImagePositionPatient


def test_it_belongs_to_the_ct_and_says_what_made_it(reference, origin, fixed, tmp_path, dose_gy, affine_ras):
    path, uid = write_rtdose(dose_gy, affine_ras("HFS"), reference, tmp_path / "d", origin, plan_uid=PLAN, **fixed)
    made, ct = pydicom.dcmread(path), reference.first
    assert made.SOPInstanceUID == uid
    for name in ("PatientID", "PatientBirthDate", "StudyInstanceUID", "FrameOfReferenceUID", "StudyDate"):
        assert made[name].value == ct[name].value
    assert (str(made.PatientName), str(made.ReferringPhysicianName)) == ("Müller^Jürgen", "Weiß^Anna")
    assert made.SeriesInstanceUID != ct.SeriesInstanceUID
    assert (made.DoseUnits, made.DoseType, made.DoseSummationType) == ("GY", "PHYSICAL", "PLAN")
    assert [item.ReferencedSOPInstanceUID for item in made.ReferencedRTPlanSequence] == [PLAN]
    assert "Predicted by ctan_monai" in made.DoseComment
    assert "not for clinical use" in made.DoseComment
    assert "60 Gy in 20 fractions" in made.ImageComments
    assert made.InstanceCreationDate + made.InstanceCreationTime == "20240506070809"
    assert "SyntheticData" not in made


@pytest.mark.parametrize("position", ["HFS", "FFS", "oblique"])
def test_dciodvfy_finds_no_error(references, origin, fixed, tmp_path, dose_gy, affine_ras, position):
    path = tmp_path / "d.dcm"
    write_rtdose(dose_gy, affine_ras(position), references(position), path, origin, plan_uid=PLAN, **fixed)
    assert errors_of(path) == []


def test_dciodvfy_does_find_what_is_wrong(reference, origin, tmp_path, dose_gy, affine_ras):
    made = pydicom.dcmread(
        write_rtdose(dose_gy, affine_ras("HFS"), reference, tmp_path / "d", origin, plan_uid=PLAN).path
    )
    made.DoseUnits = "CGY"
    made.save_as(tmp_path / "bad.dcm")
    assert any("DoseUnits" in line for line in errors_of(tmp_path / "bad.dcm"))


def test_the_same_clock_and_uids_write_the_same_bytes(reference, origin, tmp_path, dose_gy, affine_ras, fixed):
    from ctan_monai.data.dicom.write import SeededUids

    for name in "ab":
        given = {"clock": fixed["clock"], "uid_source": SeededUids(5)}
        write_rtdose(dose_gy, affine_ras("HFS"), reference, tmp_path / name, origin, plan_uid=PLAN, **given)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_without_a_plan_there_is_no_reference_and_a_warning(reference, origin, tmp_path, dose_gy, affine_ras, caplog):
    with caplog.at_level(logging.WARNING):
        write_rtdose(dose_gy, affine_ras("HFS"), reference, tmp_path / "d", origin)
    assert "refers to no RTPLAN" in caplog.text
    assert "ReferencedRTPlanSequence" not in pydicom.dcmread(tmp_path / "d")


def test_negative_dose_becomes_zero_and_no_dose_at_all_can_be_written(reference, origin, tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        write_rtdose(np.full((2, 3, 4), -0.5), reference.affine_ras, reference, tmp_path / "d", origin, plan_uid=PLAN)
    made = pydicom.dcmread(tmp_path / "d")
    assert "24 negative voxels of the dose, down to -0.5 Gy" in caplog.text
    assert not made.pixel_array.any()
    assert float(made.DoseGridScaling) > 0


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_dose_that_is_no_number_is_not_written(reference, origin, tmp_path, bad):
    dose = np.zeros((2, 2, 2))
    dose[1, 1, 0] = bad
    with pytest.raises(DataError, match="1 of 8 voxels"):
        write_rtdose(dose, reference.affine_ras, reference, tmp_path / "d", origin)
    assert not list(tmp_path.iterdir())


def test_a_file_is_never_replaced(reference, origin, tmp_path):
    path = tmp_path / "d.dcm"
    path.write_text("precious")
    with pytest.raises(DataError, match="exists"):
        write_rtdose(np.zeros((2, 2, 2)), reference.affine_ras, reference, path, origin)
    assert path.read_text() == "precious"
    assert list(tmp_path.iterdir()) == [path]


def test_a_tilted_gantry_gives_an_upright_grid_with_the_same_dose(references, origin, tmp_path):
    reference: CtReference = references("HFS", 15.0)
    shape = (30, 24, 9)
    index = np.stack(np.meshgrid(*(np.arange(side) for side in shape), indexing="ij"), -1)
    lps = LPS @ reference.affine_ras
    dose = (index @ lps[:3, :3].T + lps[:3, 3]) @ (0.4, 0.2, -0.3) + 300
    write_rtdose(dose, reference.affine_ras, reference, tmp_path / "d", origin, plan_uid=PLAN)
    read = sitk.ReadImage(str(tmp_path / "d"), sitk.sitkFloat64)
    step = float(pydicom.dcmread(tmp_path / "d").DoseGridScaling)
    for at in ((12, 10, 0), (20, 8, 4), (3, 15, 8)):
        place = np.array(read.TransformIndexToPhysicalPoint(at))
        assert read[at] * step == pytest.approx(place @ (0.4, 0.2, -0.3) + 300, abs=step)
