"""Frames of DICOM ultrasound: colors, cines, regions, and what is refused by name."""

import numpy as np
import pytest
from pydicom.uid import JPEGLosslessSV1, RLELossless
from ultrasound_files import region, to_ybr_full, write_jpeg_us, write_us

from ctan_monai.data.dicom.read.ultrasound import count_frames, is_dicom_file, read_ultrasound
from ctan_monai.errors import DataError

RNG = np.random.default_rng(3)
GRAY = RNG.integers(0, 256, (40, 60)).astype(np.uint8)
SMOOTH = np.stack(np.broadcast_arrays(np.arange(40)[:, None] * 4, np.arange(60)[None] * 3, 90), -1).astype(np.uint8)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.dcm"


def test_gray_becomes_three_equal_channels_and_monochrome1_is_inverted(path):
    write_us(path, GRAY)
    assert np.array_equal(read_ultrasound(path).rgb, np.repeat(GRAY[..., None], 3, -1))
    write_us(path, GRAY, "MONOCHROME1")
    assert np.array_equal(read_ultrasound(path).rgb[..., 1], 255 - GRAY)


def test_sixteen_bits_are_brought_to_eight_by_the_stored_bits_or_the_window(path):
    values = np.linspace(0, 4095, 2400).reshape(40, 60).astype(np.uint16)
    write_us(path, values, BitsStored=12, HighBit=11)
    assert np.abs(read_ultrasound(path).rgb[..., 0].astype(float) - values / 4095.0 * 255).max() <= 0.5
    write_us(path, values, BitsStored=12, HighBit=11, WindowCenter="1000.5", WindowWidth="1001")
    expected = np.clip((values - 500.0) / 1000 * 255, 0, 255)  # PS3.3 C.11.2.1.2: linear from 500 to 1500
    assert np.abs(read_ultrasound(path).rgb[..., 2].astype(float) - expected).max() <= 0.51


@pytest.mark.parametrize("planar", [0, 1])
def test_rgb_is_kept_in_either_order_of_its_planes(path, planar):
    rgb = RNG.integers(0, 256, (40, 60, 3)).astype(np.uint8)
    stored = rgb if planar == 0 else np.ascontiguousarray(rgb.transpose(2, 0, 1))
    write_us(path, rgb, "RGB", PlanarConfiguration=planar, PixelData=stored.tobytes())
    assert np.array_equal(read_ultrasound(path).rgb, rgb)


def test_ybr_is_converted_to_rgb_with_and_without_compression(path):
    write_us(path, to_ybr_full(SMOOTH), "YBR_FULL")
    assert np.abs(read_ultrasound(path).rgb.astype(int) - SMOOTH).max() <= 2
    ybr = to_ybr_full(SMOOTH).astype(int)
    pairs = ybr.reshape(40, 30, 2, 3)  # Y1 Y2 Cb Cr of two pixels beside each other
    stored = np.stack([pairs[..., 0, 0], pairs[..., 1, 0], pairs[..., 1].mean(2), pairs[..., 2].mean(2)], -1)
    write_us(path, SMOOTH, "YBR_FULL_422", PixelData=stored.astype(np.uint8).tobytes())
    assert np.abs(read_ultrasound(path).rgb.astype(int) - SMOOTH).max() <= 6
    write_jpeg_us(path, SMOOTH)
    assert np.abs(read_ultrasound(path).rgb.astype(int) - SMOOTH).mean() < 3


def test_a_palette_gives_its_colors(path):
    palette = RNG.integers(0, 256, (256, 3)).astype(np.uint16)
    about = {
        f"{name}PaletteColorLookupTableData": (palette[:, at] * 257).astype("<u2").tobytes()
        for at, name in enumerate(("Red", "Green", "Blue"))
    }
    about |= {f"{name}PaletteColorLookupTableDescriptor": [256, 0, 16] for name in ("Red", "Green", "Blue")}
    write_us(path, GRAY, "PALETTE COLOR", **about)
    assert np.array_equal(read_ultrasound(path).rgb, palette[GRAY])


def test_each_frame_of_a_cine_is_read_by_its_number(path):
    cine = RNG.integers(0, 256, (5, 40, 60)).astype(np.uint8)
    write_us(path, cine)
    assert count_frames(path) == 5
    for number in (1, 3, 5):
        found = read_ultrasound(path, number)
        assert np.array_equal(found.rgb[..., 0], cine[number - 1])
    assert (found.frames, found.patient) == (5, "p 1")
    with pytest.raises(DataError, match=r"a.dcm: it has 5 frames, and no frame 6"):
        read_ultrasound(path, 6)


def test_regions_of_tissue_are_united_and_what_lies_outside_is_black(path):
    regions = [region((10, 19), (5, 14)), region((30, 49), (5, 24)), region((0, 59), (30, 39), 2, 1)]
    write_us(path, np.full((40, 60), 200, np.uint8), regions=regions)
    found = read_ultrasound(path)
    assert found.box == (5, 10, 20, 40)  # rows 5 to 24, columns 10 to 49: the M-mode below is none of it
    expected = np.zeros((40, 60), bool)
    expected[5:15, 10:20] = expected[5:25, 30:50] = True
    assert np.array_equal(found.rgb[..., 0] == 200, expected)
    assert not found.rgb[~expected].any()


def test_a_region_that_leaves_the_image_is_clipped_and_without_regions_all_is_kept(path):
    write_us(path, GRAY, regions=[region((50, 60), (0, 40))])
    assert read_ultrasound(path).box == (0, 50, 40, 10)
    write_us(path, GRAY)
    assert read_ultrasound(path).box is None


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2", "Modality": "CT"}, "no ultrasound image, but CT Image Storage"),
        (
            {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7", "Modality": "OT"},
            "Secondary Capture Image Storage, Modality OT",
        ),
        ({"PixelData": None}, "it has no PixelData"),
        ({"PixelData": b"\1" * 2300}, "it has 2300 bytes of PixelData, expected 2400"),
        ({"NumberOfFrames": 0}, "its NumberOfFrames is 0"),
        ({"PhotometricInterpretation": "HSV"}, "PhotometricInterpretation is HSV"),
        ({"PixelRepresentation": 1}, "its pixels are signed"),
        ({"regions": [region((0, 9), (0, 9), 3, 3)]}, "none of its 1 ultrasound regions is B-mode .*spectral"),
        ({"regions": [region((70, 90), (0, 9))]}, "columns 70 to 90 and rows 0 to 9, the image 60 columns"),
    ],
)
def test_what_is_no_ultrasound_or_cannot_be_shown_is_refused_by_name(path, made, reason):
    write_us(path, GRAY, **made)
    with pytest.raises(DataError, match=rf"a.dcm: .*{reason}"):
        read_ultrasound(path)


def test_a_number_of_frames_that_the_file_cannot_hold_is_refused_before_they_are_listed(path):
    write_us(path, GRAY, NumberOfFrames=10**6)
    with pytest.raises(DataError, match="its NumberOfFrames is 1000000, and it has"):
        count_frames(path)


def test_a_compression_without_decoder_is_named_with_what_helps(path):
    made = write_us(path, GRAY)
    made.file_meta.TransferSyntaxUID = JPEGLosslessSV1
    made["PixelData"].is_undefined_length = True
    made.PixelData = b"\xfe\xff\x00\xe0\x00\x00\x00\x00\xfe\xff\x00\xe0\x04\x00\x00\x00abcd"
    made.save_as(path, enforce_file_format=True)
    with pytest.raises(DataError, match=r"JPEG Lossless.*no decoder.*pylibjpeg") as caught:
        read_ultrasound(path)
    assert "Doe" not in str(caught.value)


def test_secondary_captures_of_ultrasound_and_compressed_cines_are_read(path):
    cine = RNG.integers(0, 256, (3, 40, 60)).astype(np.uint8)
    made = write_us(path, cine, SOPClassUID="1.2.840.10008.5.1.4.1.1.7.2")
    made.compress(RLELossless)
    made.save_as(path, enforce_file_format=True)
    assert np.array_equal(read_ultrasound(path, 2).rgb[..., 0], cine[1])


def test_dicom_is_recognized_by_name_or_first_bytes(tmp_path):
    for name in ("a.dcm", "1.2.840.4", "B.DICOM"):
        write_us(tmp_path / name, GRAY)
        assert is_dicom_file(tmp_path / name)
    (tmp_path / "labels.csv").write_text("image,class\n" * 50)
    (tmp_path / "DICOMDIR").write_bytes((tmp_path / "1.2.840.4").read_bytes())
    assert not is_dicom_file(tmp_path / "labels.csv")
    assert not is_dicom_file(tmp_path / "DICOMDIR")
