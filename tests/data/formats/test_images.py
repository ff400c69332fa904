"""Images and masks against what Pillow itself shows, and files as they go wrong."""

import hashlib
import io
import zlib

import numpy as np
import pytest
from PIL import Image

from ctan_monai.data.cases.cache import read_case_file, write_case
from ctan_monai.data.cases.case import Case
from ctan_monai.data.formats.image_masks import read_mask_file, write_mask_file
from ctan_monai.data.formats.images import CHANNELS, image_affine_ras, read_image_file
from ctan_monai.errors import DataError


@pytest.fixture
def rgb():
    return np.random.default_rng(0).integers(0, 256, (30, 40, 3)).astype(np.uint8)


def saved(path, image, **options):
    image.save(path, **options)
    return path


def test_a_png_is_read_bit_for_bit(tmp_path, rgb):
    path = saved(tmp_path / "a.png", Image.fromarray(rgb))
    found = read_image_file(path, "a")
    assert np.array_equal(found.rgb, rgb)
    assert found.full_shape == (30, 40)
    assert found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert found.thumbnail.shape == (16, 16)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1"])
def test_other_kinds_of_images_become_the_rgb_that_they_show(tmp_path, rgb, mode):
    image = Image.fromarray(rgb).convert(mode)
    path = saved(tmp_path / ("a.jpg" if mode == "CMYK" else "a.png"), image)
    assert np.array_equal(read_image_file(path, "a").rgb, np.array(Image.open(path).convert("RGB")))


@pytest.mark.promise(3, "an image of 16 bits is refused, not clipped")
def test_an_image_of_16_bits_is_refused_not_clipped(tmp_path):
    path = saved(tmp_path / "a.png", Image.fromarray(np.full((8, 8), 4000, np.uint16)))
    with pytest.raises(DataError, match=r"a\.png \(case a\): its pixels are of the kind I;16"):
        read_image_file(path, "a")


def test_an_image_is_turned_as_its_camera_says(tmp_path, rgb):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright: turn by 90 degrees clockwise
    path = saved(tmp_path / "a.png", Image.fromarray(rgb), exif=exif)
    found = read_image_file(path, "a")
    assert found.full_shape == (40, 30)
    assert np.array_equal(found.rgb, np.rot90(rgb, -1))


def test_shrinking_averages_what_a_pixel_covers(tmp_path):
    stripes = np.zeros((32, 32, 3), np.uint8)
    stripes[:, ::2] = 200  # finer than the new pixels: without averaging they would be all 0 or all 200
    path = saved(tmp_path / "a.png", Image.fromarray(stripes))
    small = read_image_file(path, "a", (8, 8)).rgb[:, 1:-1]
    assert np.abs(small.astype(int) - 100).max() <= 8


@pytest.mark.parametrize("name", ["a.jpg", "a.png"])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.9])
def test_a_file_that_was_cut_short_is_named(tmp_path, rgb, name, share):
    whole = saved(tmp_path / name, Image.fromarray(rgb)).read_bytes()
    (tmp_path / name).write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(DataError, match=rf"{name} \(case isic\): it is no JPEG or PNG, or was cut short"):
        read_image_file(tmp_path / name, "isic")


def test_every_garbled_png_is_refused_or_shows_the_same(tmp_path, rgb):
    whole = saved(tmp_path / "a.png", Image.fromarray(rgb)).read_bytes()
    refused = 0
    for at in range(0, len(whole), 97):
        (tmp_path / "b.png").write_bytes(whole[:at] + bytes([whole[at] ^ 0x5A]) + whole[at + 1 :])
        try:
            assert np.array_equal(read_image_file(tmp_path / "b.png", "b").rgb, rgb)
        except DataError:
            refused += 1
    assert refused > 20


def test_another_kind_of_file_is_refused_whatever_it_is_called(tmp_path, rgb):
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "TIFF")
    (tmp_path / "a.jpg").write_bytes(buffer.getvalue())
    with pytest.raises(DataError, match="no JPEG or PNG"):
        read_image_file(tmp_path / "a.jpg", "a")


@pytest.mark.promise(3, "an image of one color only is refused")
@pytest.mark.parametrize("color", [(0, 0, 0), (255, 255, 255), (200, 120, 90)])
def test_an_image_that_shows_nothing_is_refused(tmp_path, color):
    Image.new("RGB", (40, 30), color).save(tmp_path / "a.png")
    with pytest.raises(DataError, match=rf"a\.png \(case a\): each of its pixels is \({color[0]}, {color[1]}"):
        read_image_file(tmp_path / "a.png", "a")


@pytest.mark.promise(3, "an image whose header asks for gigabytes is refused before memory is asked for")
def test_an_image_larger_than_any_camera_makes_is_refused(tmp_path, rgb):
    path = tmp_path / "a.png"
    Image.fromarray(rgb).save(path)
    content = bytearray(path.read_bytes())
    content[16:24] = (30_000).to_bytes(4, "big") * 2  # width and height, in the header with its checksum
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"too large|30000 x 30000 pixels, expected 100000000 at most"):
        read_image_file(path, "a")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"b\.jpg \(case b\): it cannot be read"):
        read_image_file(tmp_path / "b.jpg", "b")


def test_a_mask_is_what_is_above_127_in_gray_and_what_a_palette_shows(tmp_path):
    gray = np.array([[0, 127], [128, 255]], np.uint8)
    path = saved(tmp_path / "gray.png", Image.fromarray(gray))
    assert read_mask_file(path, "a", (2, 2)).tolist() == [[False, False], [True, True]]
    index = Image.fromarray(np.array([[1, 0], [0, 1]], np.uint8)).convert("P")
    index.putpalette([255, 255, 255, 0, 0, 0])  # index 0 is white
    path = saved(tmp_path / "palette.png", index)
    assert Image.open(path).mode == "P"
    assert read_mask_file(path, "a", (2, 2)).tolist() == [[False, True], [True, False]]


def test_a_mask_of_zeros_and_ones_is_what_is_1(tmp_path):
    path = saved(tmp_path / "a.png", Image.fromarray(np.eye(4, dtype=np.uint8)))
    assert np.array_equal(read_mask_file(path, "a", (4, 4)), np.eye(4, dtype=bool))


@pytest.mark.promise(4, "a mask of another size than its image is refused")
def test_a_mask_of_another_size_than_its_image_is_refused(tmp_path):
    path = saved(tmp_path / "a.png", Image.fromarray(np.zeros((4, 5), np.uint8)))
    with pytest.raises(DataError, match=r"4 rows and 5 columns, its image 5 and 4"):
        read_mask_file(path, "a", (5, 4))


def test_a_shrunk_mask_has_the_pixels_of_which_more_than_half_is_covered(tmp_path):
    mask = np.zeros((4, 8), np.uint8)
    mask[:, :3] = 255  # new pixels of 4 x 4: three quarters of the first, nothing of the second
    path = saved(tmp_path / "a.png", Image.fromarray(mask))
    assert read_mask_file(path, "a", (4, 8), (1, 2)).tolist() == [[True, False]]
    mask[:, 1:3] = 0  # a quarter
    path = saved(tmp_path / "b.png", Image.fromarray(mask))
    assert read_mask_file(path, "a", (4, 8), (1, 2)).tolist() == [[False, False]]


def test_a_written_mask_reads_back_and_grows_to_the_image_it_belongs_to(tmp_path):
    rows, columns = np.indices((24, 32))
    disc = np.hypot(rows - 11.5, columns - 15.5) < 8
    write_mask_file(disc, tmp_path / "same.png")
    assert np.array_equal(read_mask_file(tmp_path / "same.png", "a", (24, 32)), disc)
    large = write_mask_file(disc, tmp_path / "large.png", (96, 128))
    assert Image.open(tmp_path / "large.png").size == (128, 96)
    rows, columns = np.indices((96, 128))
    expected = np.hypot((rows - 47.5) / 4, (columns - 63.5) / 4) < 8
    assert 2 * (large & expected).sum() / (large.sum() + expected.sum()) > 0.97
    assert np.array_equal(read_mask_file(tmp_path / "large.png", "a", (96, 128), (24, 32)), disc)


def test_the_affine_puts_the_corners_of_both_grids_at_one_place():
    affine = image_affine_ras((450, 600), (96, 128))
    for corner, full in (((-0.5, -0.5), (-0.5, -0.5)), ((95.5, 127.5), (449.5, 599.5))):
        x, y = (affine @ [*corner, 0, 1])[:2]
        assert (-y, -x) == pytest.approx(full)


def test_a_cached_image_is_the_same_in_every_bit(tmp_path, rgb):
    volumes = {name: rgb[..., at].copy() for at, name in enumerate(CHANNELS)}
    masks = {"lesion": rgb[..., 0] > 128}
    write_case(tmp_path / "a.case", Case("a", volumes, masks, image_affine_ras((30, 40), (30, 40)), {"diagnosis": 6}))
    found = read_case_file(tmp_path / "a.case")
    assert np.array_equal(np.stack([found.volumes[name] for name in CHANNELS], -1), rgb)
    assert np.array_equal(found.masks["lesion"], masks["lesion"])
    assert found.values == {"diagnosis": 6}
