"""MetaImage files, against what SimpleITK reads of sound ones."""

import numpy as np
import pytest
import SimpleITK as sitk

from ctan_monai.data.formats.metaimage import read_mha
from ctan_monai.errors import DataError

DIRECTION = (0.8, -0.6, 0.0, 0.6, 0.8, 0.0, 0.0, 0.0, -1.0)
ARRAY = np.arange(4 * 5 * 6).reshape(4, 5, 6)


def write(path, dtype=np.int16, compress=False):
    image = sitk.GetImageFromArray(ARRAY.astype(dtype))
    image.SetSpacing((1.5, 2.0, 3.0))
    image.SetOrigin((10.0, -20.0, 30.0))
    image.SetDirection(DIRECTION)
    image.SetMetaData("PatientAge", "045Y")
    sitk.WriteImage(image, str(path), compress)
    return image


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("dtype", ["i1", "u1", "i2", "u2", "i4", "u4", "f4", "f8"])
def test_voxels_and_places_are_those_of_simpleitk(tmp_path, dtype, compress):
    image = write(tmp_path / "a.mha", np.dtype(dtype), compress)
    values, affine_ras, about = read_mha(tmp_path / "a.mha", "a", 1000)
    np.testing.assert_array_equal(values.T, sitk.GetArrayFromImage(image))
    assert values.dtype == np.dtype(dtype)
    for index in ((0, 0, 0), (5, 1, 2), (3, 4, 3)):
        left, back, head = image.TransformIndexToPhysicalPoint(index)
        np.testing.assert_allclose(affine_ras @ [*index, 1], [-left, -back, head, 1], atol=1e-6)
    assert about["PatientAge"] == "045Y"


def replaced(path, old, new):
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new, 1))


def test_the_highest_byte_may_come_first(tmp_path):
    path = tmp_path / "a.mha"
    write(path)
    replaced(path, b"BinaryDataByteOrderMSB = False", b"BinaryDataByteOrderMSB = True")
    start = path.read_bytes().index(b"LOCAL\n") + 6
    path.write_bytes(path.read_bytes()[:start] + ARRAY.astype(">i2").tobytes())
    np.testing.assert_array_equal(read_mha(path, "a", 1000)[0].T, ARRAY)


@pytest.mark.promise(3, "an .mha whose header is damaged is refused, also where SimpleITK ends the process by a signal")
@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b"DimSize = 6 5 4", b"DimSize = 6 5 5", "has 240 bytes of voxels, its header says 300"),
        (b"DimSize = 6 5 4", b"DimSize = 6 5 0", "its shape is"),
        (b"DimSize = 6 5 4", b"DimSize = 6 5 nan", "its shape is"),
        (b"DimSize = 6 5 4", b"DimSize = 6 5 1e30", "its shape is"),
        (b"DimSize = 6 5 4", b"DimSize = 6 5", "its shape is"),
        (b"DimSize", b"DimSise", "'DimSize' is missing"),
        (b"Offset", b"Offsat", "'Offset' is missing"),
        (b"TransformMatrix = 0.8", b"TransformMatrix = 0.9", "perpendicular"),
        (b"ElementSpacing = 1.5", b"ElementSpacing = 0", "its spacing is"),
        (b"ElementSpacing = 1.5", b"ElementSpacing = inf", "its spacing is"),
        (b"Offset", b"DistanceUnits = um\nOffset", "its unit of length is um, expected mm"),
        (b"MET_SHORT", b"MET_SHIRT", "stored as"),
        (b"BinaryData = True", b"BinaryData = Trua", "expected True or False"),
        (b"CompressedData = False", b"CompressedData = True", "cannot be read as a MetaImage volume"),
        (b"ElementDataFile = LOCAL", b"ElementDataFile = a.raw", "stored as"),
        (b"ElementDataFile = LOCAL\n", b"ElementDataFile = L\x9d\x05\xda\xa1\xc1'", "cannot be read as a MetaImage"),
    ],
)
def test_a_damaged_header_is_refused(tmp_path, old, new, message):
    write(tmp_path / "a.mha")
    replaced(tmp_path / "a.mha", old, new)
    with pytest.raises(DataError, match=message) as caught:
        read_mha(tmp_path / "a.mha", "a", 1000)
    assert caught.value.case == "a"


def test_what_goes_on_after_the_voxels_is_refused(tmp_path):
    write(tmp_path / "a.mha")
    (tmp_path / "a.mha").write_bytes((tmp_path / "a.mha").read_bytes() + b"\0")
    with pytest.raises(DataError, match="has 241 bytes of voxels, its header says 240"):
        read_mha(tmp_path / "a.mha", "a", 1000)
