"""Pixels end where the image ends, and with them the file."""

import pytest
from dicom_phantoms import Patient, save_all

from ctan_monai.data.dicom.read.ct_slice import read_ct_slice
from ctan_monai.errors import DataError


@pytest.fixture
def image():
    return Patient(rows=12, columns=15, slices=2).ct()[0]


def read(image, folder, more=b""):
    path = save_all([image], folder)[0]
    path.write_bytes(path.read_bytes() + more)
    return read_ct_slice(path).hu


def test_more_pixels_than_the_image_has_are_refused(image, tmp_path):
    image.PixelData += b"\x01\x02" * 15
    with pytest.raises(DataError, match="has 390 bytes of PixelData, expected 360"):
        read(image, tmp_path)


def test_what_follows_the_pixels_is_refused(image, tmp_path):
    with pytest.raises(DataError, match="follows its pixels"):
        read(image, tmp_path, b"\x00\x01\x02\x03")


def test_what_the_standard_and_scanners_put_there_is_not(image, tmp_path):
    expected = read(image, tmp_path / "a")
    image.add_new(0xFFFCFFFC, "OB", bytes(10))
    image.add_new(0x7FE10010, "LO", "SIEMENS CSA NON-IMAGE")
    assert (read(image, tmp_path / "b") == expected).all()
    del image[0xFFFCFFFC], image[0x7FE10010]
    image.PixelData += bytes(30)
    assert (read(image, tmp_path / "c", bytes(100)) == expected).all()
