"""Volumes that ITK reads: NRRD, .mhd with its voxels beside, DICOM series; what ITK passes over is refused."""

import gzip
import shutil
import zlib

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from ctan_monai.data.datasets.tabular.files import parts_of, read_volumes
from ctan_monai.data.phantom import PhantomGrid, make_cohort
from ctan_monai.errors import DataError

SHAPE, SPACING_MM, FIRST_LPS = (7, 6, 5), (1.5, 2.0, 3.0), (10.0, -20.0, 30.0)
TURN = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])  # columns: the axes in LPS


@pytest.fixture
def values():
    return np.random.default_rng(0).integers(-1000, 1000, SHAPE).astype(np.int16)


def save(path, values, compress=False):
    """Write by SimpleITK, a program that is not ours."""
    image = sitk.GetImageFromArray(values.T)
    image.SetSpacing(SPACING_MM)
    image.SetOrigin(FIRST_LPS)
    image.SetDirection(TURN.ravel().tolist())
    sitk.WriteImage(image, str(path), useCompression=compress)
    return path


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("suffix", [".nrrd", ".mhd", ".mha"])
def test_values_lie_where_the_file_says(tmp_path, values, suffix, compress):
    (found,), affine_ras, own = read_volumes(save(tmp_path / f"a{suffix}", values, compress), "a", "RAS")
    place_lps = np.array(FIRST_LPS) + TURN @ (np.array(SPACING_MM) * (4, 3, 2))  # of the voxel (4, 3, 2)
    np.testing.assert_allclose((own.affine_ras @ [4, 3, 2, 1])[:3], place_lps * (-1, -1, 1), atol=1e-5)
    at = np.rint(np.linalg.inv(affine_ras) @ [*(place_lps * (-1, -1, 1)), 1])[:3].astype(int)
    assert found[tuple(at)] == values[4, 3, 2]
    assert sorted(found.ravel().tolist()) == sorted(values.ravel().tolist())


def cut(content):
    return content[:-3]


def add(content):
    return content + b"abc"


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("suffix", [".nrrd", ".mhd"])
@pytest.mark.parametrize("harm", [cut, add])
def test_voxels_that_are_too_few_or_too_many_are_refused(tmp_path, values, suffix, compress, harm):
    path = save(tmp_path / f"a{suffix}", values, compress)
    voxels = parts_of(path)[-1]
    voxels.write_bytes(harm(voxels.read_bytes()))
    with pytest.raises(DataError, match=r"bytes of voxels|its voxels are damaged|ends after|more than"):
        read_volumes(path, "a", "RAS")


def test_a_changed_byte_of_compressed_voxels_is_refused(tmp_path, values):
    path = save(tmp_path / "a.nrrd", values, compress=True)
    whole, first = path.read_bytes(), path.read_bytes().index(b"\n\n") + 2
    for place in range(first + 10, len(whole), 7):  # behind gzip's own header, which holds a time
        content = bytearray(whole)
        content[place] ^= 0x10
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"its voxels are damaged|bytes of voxels"):
            read_volumes(path, "a", "RAS")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b"sizes: 7 6 5", b"sizes: 7 6 4", "bytes of voxels, its header says"),
        (b"space: left-posterior-superior\n", b"", "does not say how the patient lies"),
        (b"encoding: raw", b"encoding: hex", "its encoding is 'hex'"),
        (b"encoding: raw", b"byte skip: 1\nencoding: raw", "between its header and its voxels"),
        (b"encoding: raw", b"data file: b.raw\nencoding: raw", "kept in another file"),
        (b"encoding: raw", b'space units: "um" "um" "um"\nencoding: raw', "its unit of length is um, expected mm"),
        (b"encoding: raw", b'Space Units: "mm" "mm" "m"\nencoding: raw', "its unit of length is m, mm, expected mm"),
        (b"dimension: 3", b"dimension: 2", "cannot be read by ITK"),
        (b"(0,1.5,0)", b"(0,0,0)", "its affine|cannot be read by ITK"),
    ],
)
def test_a_nrrd_header_that_does_not_fit_is_refused(tmp_path, values, old, new, message):
    path = save(tmp_path / "a.nrrd", values)
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new))
    with pytest.raises(DataError, match=message):
        read_volumes(path, "a", "RAS")


def test_a_nrrd_may_say_that_its_lengths_are_in_mm(tmp_path, values):
    path = save(tmp_path / "a.nrrd", values)
    (expected,), _, _ = read_volumes(path, "a", "RAS")
    path.write_bytes(path.read_bytes().replace(b"encoding: raw", b'space units: "mm" "mm" "mm"\nencoding: raw'))
    (found,), _, _ = read_volumes(path, "a", "RAS")
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("name", ["../a.raw", "LIST", "a%02d.raw", "/a.raw"])
def test_an_mhd_reads_no_file_of_another_folder(tmp_path, values, name):
    path = save(tmp_path / "a.mhd", values)
    path.write_text(path.read_text().replace("a.raw", name))
    with pytest.raises(DataError, match="expected one file in the same folder"):
        read_volumes(path, "a", "RAS")


def test_the_writers_of_the_tests_compress_as_they_say(tmp_path, values):
    nrrd = save(tmp_path / "a.nrrd", values, compress=True).read_bytes()
    assert gzip.decompress(nrrd[nrrd.index(b"\n\n") + 2 :]) == values.T.tobytes()
    save(tmp_path / "a.mhd", values, compress=True)
    assert zlib.decompress((tmp_path / "a.zraw").read_bytes()) == values.T.tobytes()


@pytest.fixture(scope="module")
def series(tmp_path_factory):
    """Write the CT of a synthetic patient as a DICOM series."""
    grid = PhantomGrid(rows=64, columns=64, slices=16, row_mm=7.5, column_mm=7.5, slice_mm=6.0)
    folder = make_cohort(tmp_path_factory.mktemp("cohort") / "c", 1, grid=grid, progress=False).folder
    for path in folder.glob("*/R*.dcm"):
        path.unlink()
    return next(path for path in folder.iterdir() if path.is_dir())


@pytest.fixture
def copied(series, tmp_path):
    return shutil.copytree(series, tmp_path / "series")


def test_a_dicom_series_is_read_as_pydicom_sees_its_slices(series):
    (found,), _, own = read_volumes(series, "a", "LPS")
    slices = [pydicom.dcmread(path) for path in parts_of(series)]
    slices.sort(key=lambda each: each.ImagePositionPatient[2])
    hu = np.stack([each.pixel_array * each.RescaleSlope + each.RescaleIntercept for each in slices])
    np.testing.assert_array_equal(found, hu.transpose(2, 1, 0))
    first = np.array(slices[0].ImagePositionPatient, float) * (-1, -1, 1)
    np.testing.assert_allclose(own.affine_ras[:3, 3], first, atol=1e-4)
    assert np.linalg.norm(own.affine_ras[:3, 2]) == pytest.approx(6.0)


def test_a_series_with_a_gap_is_refused(copied):
    parts_of(copied)[5].unlink()
    with pytest.raises(DataError, match=r"its slices are 6\.000 to 12\.000 mm apart"):
        read_volumes(copied, "a", "RAS")


@pytest.mark.parametrize(("name", "value"), [("SeriesInstanceUID", "1.2.3"), ("RescaleSlope", "2"), ("Rows", 32)])
def test_slices_that_do_not_belong_together_are_refused(copied, name, value):
    path = parts_of(copied)[3]
    changed = pydicom.dcmread(path)
    setattr(changed, name, value)
    changed.save_as(path)
    with pytest.raises(DataError, match=r"files differ in SeriesInstanceUID|bytes of PixelData"):
        read_volumes(copied, "a", "RAS")


def test_a_slice_that_is_shifted_is_refused(copied):
    path = parts_of(copied)[3]
    changed = pydicom.dcmread(path)
    changed.ImagePositionPatient[0] += 5
    changed.save_as(path)
    with pytest.raises(DataError, match="or shifted or turned"):
        read_volumes(copied, "a", "RAS")


def test_a_folder_without_images_is_refused(tmp_path):
    with pytest.raises(DataError, match="there is no file in it"):
        read_volumes(tmp_path, "a", "RAS")
