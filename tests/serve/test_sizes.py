"""Files that are received, as they are and unpacked."""

import gzip

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image

from ctan_monai.data.formats.itk_volume import unpacked_bytes
from ctan_monai.errors import DataError
from ctan_monai.serve.sizes import TooLargeError, check_received

MIB = 2**20


def packed_nifti(path):
    path.with_suffix(".gz").write_bytes(gzip.compress(bytes(3 * MIB)))
    return path.with_suffix(".gz").rename(path.with_name("a.nii.gz"))


def packed_nrrd(path):
    sitk.WriteImage(sitk.Image(128, 128, 192, sitk.sitkUInt8), str(path.with_name("a.nrrd")), useCompression=True)
    return path.with_name("a.nrrd")


def packed_mha(path):
    sitk.WriteImage(sitk.Image(128, 128, 96, sitk.sitkInt16), str(path.with_name("a.mha")), useCompression=True)
    return path.with_name("a.mha")


def packed_png(path):
    Image.new("RGB", (1024, 1024)).save(path.with_name("a.png"))
    return path.with_name("a.png")


@pytest.mark.parametrize("packed", [packed_nifti, packed_nrrd, packed_mha, packed_png])
def test_what_unpacks_to_more_than_the_limit_is_refused(tmp_path, packed):
    file = packed(tmp_path / "a")
    assert file.stat().st_size < MIB / 10
    check_received(file, 3.01)
    with pytest.raises(TooLargeError, match=r"larger than 2\.9 MiB once it is unpacked"):
        check_received(file, 2.9)
    (tmp_path / "several").mkdir()
    for name in "bc":
        (tmp_path / "several" / f"{name}{''.join(file.suffixes)}").write_bytes(file.read_bytes())
    with pytest.raises(TooLargeError):
        check_received(tmp_path / "several", 5.9)


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.uint32, np.float32, np.float64, np.int64])
def test_the_header_of_an_nrrd_says_how_large_it_is(tmp_path, kind):
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((2, 3, 4), kind)), str(tmp_path / "a.nrrd"))
    assert unpacked_bytes(tmp_path / "a.nrrd") == np.zeros((2, 3, 4), kind).nbytes


@pytest.mark.parametrize("name", ["a.json", "a.zip", "a", "a.nii.gz.exe", "a.mhd"])
def test_other_kinds_of_files_are_refused(tmp_path, name):
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(DataError, match="expected one of"):
        check_received(tmp_path / name, 1)


def test_so_is_a_header_that_sends_the_reader_to_another_file(tmp_path):
    (tmp_path / "a.mha").write_text("NDims = 3\nDimSize = 1 1 1\nElementType = MET_UCHAR\nElementDataFile = b.raw\n")
    with pytest.raises(DataError, match="another file"):
        check_received(tmp_path / "a.mha", 1)
