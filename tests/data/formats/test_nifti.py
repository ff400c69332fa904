from __future__ import annotations

import gzip
import logging
import os

import nibabel as nib
import numpy as np
import pytest
from monai.transforms import LoadImage

from ctan_monai.data.formats.nifti import read_nifti_case, write_nifti
from ctan_monai.errors import DataError

# A tilted grid with three different spacings: nothing in it is symmetric by accident.
TURN = np.array([[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, -1]])
AFFINE_RAS = np.eye(4)
AFFINE_RAS[:3, :3] = TURN @ np.diag([1.5, 2.0, 3.0])
AFFINE_RAS[:3, 3] = [10, -20, 30]
CT_HU = (np.arange(60).reshape(3, 4, 5) * 20 - 1024).astype(np.int16)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_what_was_written_is_read_back_and_monai_agrees(tmp_path, suffix):
    path = tmp_path / f"pt.a_1{suffix}"
    write_nifti(CT_HU, AFFINE_RAS, path)
    case = read_nifti_case(path)
    assert case.case == "pt.a_1"
    np.testing.assert_array_equal(case.volumes["ct"], CT_HU)
    np.testing.assert_allclose(case.affine_ras, AFFINE_RAS, atol=1e-5)
    assert case.spacing_mm == pytest.approx((1.5, 2, 3))
    image = LoadImage(image_only=True)(path)
    np.testing.assert_array_equal(image.numpy(), CT_HU)
    np.testing.assert_allclose(image.affine.numpy(), AFFINE_RAS, atol=1e-5)
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize("dtype", ["u1", "i2", "i4", "i8", "f4", "f8"])
def test_types_are_kept(tmp_path, dtype):
    write_nifti(np.arange(24).reshape(2, 3, 4).astype(dtype), AFFINE_RAS, tmp_path / "a.nii.gz")
    assert nib.load(tmp_path / "a.nii.gz").get_data_dtype() == np.dtype(dtype)


def test_masks_become_bytes(tmp_path):
    mask = np.zeros((2, 3, 4), bool)
    mask[1, 2, 3] = True
    write_nifti(mask, AFFINE_RAS, tmp_path / "a.nii.gz")
    image = nib.load(tmp_path / "a.nii.gz")
    assert image.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(np.asarray(image.dataobj), mask)


def test_scaled_and_fractional_values_become_whole_hu(tmp_path):
    image = nib.Nifti1Image(np.array([[[-1000.4, 0.5, 2.6]]]), AFFINE_RAS)
    nib.save(image, tmp_path / "a.nii")
    assert read_nifti_case(tmp_path / "a.nii").volumes["ct"].tolist() == [[[-1000, 0, 3]]]
    image = nib.Nifti1Image(np.array([[[0, 10]]], np.int16), AFFINE_RAS)
    image.header.set_slope_inter(2, -1024)
    nib.save(image, tmp_path / "b.nii")
    stored = np.array([[[0, 10]]], "<i2").tobytes()
    (tmp_path / "b.nii").write_bytes((tmp_path / "b.nii").read_bytes()[: -len(stored)] + stored)
    assert read_nifti_case(tmp_path / "b.nii").volumes["ct"].tolist() == [[[-1024, -1004]]]


def save(path, array, **header):
    image = nib.Nifti1Image(array, AFFINE_RAS)
    for name, value in header.items():
        image.header[name] = value
    nib.save(image, path)
    return path


@pytest.mark.parametrize(
    ("array", "header", "message"),
    [
        (np.full((2, 2, 2), np.nan), {}, "8 of 8 voxels are NaN"),
        (np.array([[[0, np.inf]]]), {}, "1 of 2 voxels"),
        (np.zeros((2, 2), np.int16), {}, "three axes"),
        (np.zeros((2, 2, 2, 3), np.int16), {}, "three axes"),
        (np.full((2, 2, 2), 70000, np.int32), {}, "to 70000"),
        (np.full((2, 2, 2), -1e9), {}, "from -1e\\+09"),
        (np.zeros((2, 2, 2), [("R", "u1"), ("G", "u1"), ("B", "u1")]), {}, "expected numbers in HU"),
        (np.zeros((2, 2, 2), np.int16), {"xyzt_units": 1}, "meter"),
        (np.full((2, 2, 2), -1024, np.int16), {}, "each of its voxels is -1024"),
    ],
)
@pytest.mark.promise(3, "NIfTI that holds NaN, infinity, other shapes, units or values than a CT's is refused")
def test_what_is_no_ct_is_refused(tmp_path, array, header, message):
    with pytest.raises(DataError, match=message) as caught:
        read_nifti_case(save(tmp_path / "pt_1.nii.gz", array, **header))
    assert caught.value.case == "pt_1"


@pytest.mark.promise(3, "a NIfTI header that asks for too much is refused before memory is asked for")
def test_a_header_that_asks_for_too_much_is_refused_before_memory_is_asked_for(tmp_path):
    path = save(tmp_path / "a.nii", CT_HU)
    content = bytearray(path.read_bytes())
    content[42:48] = np.array([32000, 32000, 32000], "<i2").tobytes()  # dim[1:4]
    path.write_bytes(content)
    with pytest.raises(DataError, match="at most"):
        read_nifti_case(path)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_file_that_was_cut_short_is_refused(tmp_path, suffix):
    path = save(tmp_path / f"a{suffix}", CT_HU)
    whole = path.read_bytes()
    for length in (0, 3, 100, len(whole) // 2, len(whole) - 9):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match="cannot be read as NIfTI"):
            read_nifti_case(path)


@pytest.mark.parametrize(("element", "number"), [(0, 2e7), (0, 1e-9), (0, np.nan), (1, np.inf), (0, 0)])
def test_an_affine_that_no_scanner_has_is_refused(tmp_path, element, number):
    path = save(tmp_path / "pt_1.nii", CT_HU)
    content = bytearray(path.read_bytes())
    content[280:292] = bytes(12)  # srow_x
    content[280 + 4 * element : 284 + 4 * element] = np.array(number, "<f4").tobytes()
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"pt_1\.nii \(case pt_1\): its affine is"):
        read_nifti_case(path)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_file_that_goes_on_after_its_voxels_is_refused(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    opener = gzip.open if suffix == ".nii.gz" else open
    save(path, CT_HU)
    with opener(path, "rb") as file:
        whole = file.read()
    with opener(path, "wb") as file:
        file.write(whole + b"\0")
    with pytest.raises(DataError, match=f"it has more than {len(whole)} bytes, its header says {len(whole)}"):
        read_nifti_case(path)


@pytest.mark.promise(3, "any changed bit of a compressed NIfTI's voxels is noticed, by its own checksum")
def test_a_changed_checksum_of_a_compressed_file_is_noticed(tmp_path):
    path = save(tmp_path / "a.nii.gz", np.random.default_rng(0).integers(-1000, 1000, (60, 60, 60), np.int16))
    whole = bytearray(path.read_bytes())
    whole[-8] ^= 1  # of the CRC-32, which nibabel does not look at
    path.write_bytes(whole)
    assert nib.load(path).get_fdata().size == 60**3
    with pytest.raises(DataError, match="CRC check failed"):
        read_nifti_case(path)


def test_other_contents_and_names_are_refused(tmp_path):
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(b"not an image" * 100))
    (tmp_path / "a.mha").write_bytes(b"")
    for name, message in (("a.nii.gz", "NIfTI"), ("a.mha", "does not end with"), ("b.nii", "cannot be read")):
        with pytest.raises(DataError, match=message):
            read_nifti_case(tmp_path / name)
    with pytest.raises(DataError, match="does not end with"):
        write_nifti(CT_HU, AFFINE_RAS, tmp_path / "a.mha")


def test_what_the_system_refuses_is_no_fault_of_the_file(tmp_path):
    (tmp_path / "a.nii").mkdir()
    (tmp_path / "b.nii").symlink_to(tmp_path / "b.nii")
    for name, message in (("a.nii", "Is a directory"), ("b.nii", "Too many levels"), ("c.nii", "No such file")):
        with pytest.raises(DataError, match=rf"it cannot be read \({message}.*Check its path and rights"):
            read_nifti_case(tmp_path / name)


def test_doubtful_files_are_read_with_a_warning(tmp_path, caplog):
    path = save(tmp_path / "a.nii", CT_HU + 1024)
    content = bytearray(path.read_bytes())
    content[252:256] = bytes(4)  # qform_code and sform_code: unknown
    path.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        read_nifti_case(path)
    assert "left and right may be exchanged" in caplog.text
    assert "is this a CT in HU" in caplog.text
