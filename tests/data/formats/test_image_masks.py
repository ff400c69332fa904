"""Masks and label maps as annotation tools, image editors and cameras store them."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from ctan_monai.data.datasets.tabular.files import read_values
from ctan_monai.data.formats.image_masks import (
    note_of_turn,
    read_gray,
    read_inside,
    read_label_numbers,
    read_mask_file,
)
from ctan_monai.data.formats.images import read_image_file
from ctan_monai.errors import DataError

ROWS, COLUMNS = np.indices((48, 64))
DISC = np.hypot(ROWS - 20, COLUMNS - 36) < 11
WHITE, BLACK = np.full(DISC.shape, 255, np.uint8), np.zeros(DISC.shape, np.uint8)
SHAPE = np.where(DISC, 255, 0).astype(np.uint8)
SOFT = np.clip(255 * (11.5 - np.hypot(ROWS - 20, COLUMNS - 36)), 0, 255).astype(np.uint8)  # an edge of one pixel


def saved(path, *layers, **options):
    """Write channels as an image, and return its path."""
    values = layers[0] if len(layers) == 1 else np.dstack(layers)
    Image.fromarray(np.asarray(values)).save(path, **options)
    return path


def png_of(path, shape, bits, kind, lines):
    """Write the lines of an image as PNG, of a kind that Pillow does not write."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", shape[1], shape[0], bits, kind, 0, 0, 0)
    lines = b"".join(b"\0" + line for line in lines)
    content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    return path


def png_of_16_bits(path, values):
    """Write (H, W, K) uint16: K = 2 is gray and alpha, 3 RGB, 4 RGBA."""
    kind = {2: 4, 3: 2, 4: 6}[values.shape[2]]
    return png_of(path, values.shape, 16, kind, [line.astype(">u2").tobytes() for line in values])


def png_of_few_bits(path, values, bits):
    """Write gray values (H, W) of 1, 2 or 4 bits."""
    places = np.arange(bits)[::-1]
    lines = np.packbits((values[..., None] >> places & 1).reshape(len(values), -1).astype(np.uint8), axis=1)
    return png_of(path, values.shape, bits, 0, [line.tobytes() for line in lines])


# ---- the shape stands in the alpha channel


@pytest.mark.parametrize(
    "layers",
    [
        (WHITE, WHITE, WHITE, SHAPE),
        (WHITE, SHAPE),
        (WHITE, SOFT),
        (WHITE, WHITE, WHITE, SHAPE // 2),  # an overlay, half transparent
        (SHAPE, SHAPE, SHAPE, SHAPE),
        (SHAPE, WHITE),
        (SHAPE, BLACK, BLACK, SHAPE),  # red, as labeling tools draw
        (SOFT, SOFT, SOFT, SOFT),
    ],
    ids=["white", "gray", "soft", "half", "both", "opaque", "red", "premultiplied"],
)
@pytest.mark.promise(4, "a mask in the alpha channel is read by it, or refused; it is never the whole image")
def test_a_mask_in_the_alpha_channel_is_what_is_opaque(tmp_path, layers):
    path = saved(tmp_path / "m.png", *layers)
    assert np.array_equal(read_inside(path, "m"), DISC)
    assert np.array_equal(read_mask_file(path, "m", DISC.shape), DISC)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ((WHITE, WHITE, WHITE, BLACK), r"all of its pixels are transparent \(alpha 0\)"),
        ((SHAPE, WHITE // 2), r"all of its pixels are transparent \(alpha 127\)"),
        ((BLACK, BLACK, BLACK, SHAPE), "none of its opaque pixels is white"),
        ((SHAPE, np.roll(SHAPE, 8, 1)), "some of its white pixels are transparent"),
    ],
    ids=["invisible", "constant", "black", "elsewhere"],
)
def test_colors_and_alpha_that_say_different_things_are_refused(tmp_path, layers, message):
    with pytest.raises(DataError, match=message):
        read_inside(saved(tmp_path / "m.png", *layers), "m")


@pytest.mark.parametrize("transparent", [0, bytes([0, 255]), bytes([0, 128])])
@pytest.mark.parametrize("palette", [[0, 0, 0, 255, 255, 255], [255] * 6, [0, 0, 0, 128, 0, 0]])
def test_a_palette_with_transparent_entries_is_read_by_them(tmp_path, palette, transparent):
    image = Image.fromarray(DISC.astype(np.uint8))
    image = image.convert("P")
    image.putpalette(palette)
    image.save(tmp_path / "m.png", transparency=transparent)
    assert Image.open(tmp_path / "m.png").mode == "P"
    assert np.array_equal(read_inside(tmp_path / "m.png", "m"), DISC)


def test_a_palette_of_colors_on_black_is_read_by_its_numbers(tmp_path):
    image = Image.fromarray(DISC.astype(np.uint8)).convert("P")
    image.putpalette([0, 0, 0, 128, 0, 0])  # the first two colors of Pascal VOC
    image.save(tmp_path / "m.png")
    assert np.array_equal(read_inside(tmp_path / "m.png", "m"), DISC)
    assert np.array_equal(read_label_numbers(tmp_path / "m.png", "m"), DISC)
    image.putpalette([0, 0, 0, 2, 2, 2])  # what an optimizer makes of a label map that holds 2
    image.save(tmp_path / "m.png")
    with pytest.raises(DataError, match="shows other gray values than the numbers that it stores"):
        read_label_numbers(tmp_path / "m.png", "m")


# ---- images with transparency, 16 bits, several frames


@pytest.mark.parametrize("layers", [(SHAPE, WHITE, SHAPE, SHAPE), (SHAPE, SHAPE)], ids=["RGBA", "LA"])
def test_an_image_with_transparent_pixels_is_refused(tmp_path, layers):
    path = saved(tmp_path / "a.png", *layers)
    count = int((~DISC).sum())
    for read in (read_image_file, read_gray):
        with pytest.raises(DataError, match=rf"a\.png \(case a\): {count} of its {DISC.size} pixels are transparent"):
            read(path, "a")


@pytest.mark.parametrize("channels", [2, 3, 4])
@pytest.mark.promise(3, "a color image of 16 bits is refused, not cut to its high byte")
def test_a_color_image_of_16_bits_is_refused(tmp_path, channels):
    values = np.random.default_rng(0).integers(0, 4096, (40, 40, channels))
    path = png_of_16_bits(tmp_path / "a.png", values)
    assert np.array(Image.open(path)).max() <= 15  # what Pillow makes of a 12-bit camera's image
    for read in (read_image_file, read_gray, read_inside, read_label_numbers):
        with pytest.raises(DataError, match=rf"its {4 if channels == 2 else channels} channels have 16 bits each"):
            read(path, "a")


def test_a_gray_image_of_16_bits_keeps_its_values(tmp_path):
    values = (ROWS * 300 + COLUMNS).astype(np.uint16)
    path = saved(tmp_path / "a.png", values)
    assert np.array_equal(read_gray(path, "a"), values)
    assert np.array_equal(read_inside(saved(tmp_path / "m.png", DISC * np.uint16(65535)), "m"), DISC)
    with pytest.raises(DataError, match="its values run from 0 to 4095"):
        read_inside(saved(tmp_path / "m.png", DISC * np.uint16(4095)), "m")


def test_an_animation_is_refused(tmp_path):
    frames = [Image.fromarray(SHAPE), Image.fromarray(WHITE)]
    frames[0].save(tmp_path / "a.png", save_all=True, append_images=frames[1:])
    with pytest.raises(DataError, match="it is an animation of 2 images"):
        read_inside(tmp_path / "a.png", "a")


# ---- gray masks


def test_a_mask_as_jpeg_keeps_its_shape_in_spite_of_the_halo(tmp_path):
    path = saved(tmp_path / "m.jpg", SHAPE, quality=60)
    assert len(np.unique(np.array(Image.open(path)))) > 10
    assert (read_inside(path, "m") ^ DISC).sum() <= 0.01 * DISC.sum()
    with pytest.raises(DataError, match="does not keep 0 and 1 apart"):
        read_inside(saved(tmp_path / "n.jpg", DISC.astype(np.uint8), quality=100), "n")


def test_a_label_map_or_values_as_jpeg_are_refused(tmp_path):
    path = saved(tmp_path / "m.jpg", DISC.astype(np.uint8), quality=100)
    with pytest.raises(DataError, match="JPEG, which changes the numbers"):
        read_label_numbers(path, "m")


@pytest.mark.parametrize("ending", ["png", "jpg"])
def test_areas_of_a_third_gray_are_no_mask_but_soft_edges_and_heat_maps_are(tmp_path, ending):
    two = np.where(COLUMNS < 20, 100, np.where(DISC, 200, 0)).astype(np.uint8)
    with pytest.raises(DataError, match=r"it has areas of .*100.*, neither 0 nor 2\d\d"):
        read_inside(saved(tmp_path / f"m.{ending}", two), "m")
    assert read_inside(saved(tmp_path / f"s.{ending}", SOFT), "s").any()
    heat = np.clip(255 - 3 * np.hypot(ROWS - 20, COLUMNS - 36), 0, 255).astype(np.uint8)
    large = np.array(Image.fromarray(heat).resize((640, 480), Image.Resampling.BICUBIC))
    assert np.array_equal(read_inside(saved(tmp_path / "h.png", large), "h"), large > 127)


def test_channels_that_differ_are_refused(tmp_path):
    with pytest.raises(DataError, match="it has colors, expected one channel"):
        read_inside(saved(tmp_path / "m.png", BLACK, SHAPE, BLACK), "m")
    assert np.array_equal(read_inside(saved(tmp_path / "m.png", SHAPE, SHAPE, SHAPE), "m"), DISC)


def test_a_transparent_pixel_of_a_label_map_is_0_or_the_map_is_refused(tmp_path):
    two = DISC * np.uint8(2)
    assert np.array_equal(read_label_numbers(saved(tmp_path / "m.png", two, SHAPE), "m"), two)
    with pytest.raises(DataError, match=f"{int(DISC.sum())} of its pixels hold a label and are transparent"):
        read_label_numbers(saved(tmp_path / "m.png", two, 255 - SHAPE), "m")


# ---- turned by EXIF


def turned(path, values, orientation):
    """Write an image as a camera does that was held otherwise."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(values).save(path, exif=exif)
    return path


def test_masks_and_gray_images_are_turned_as_images_are(tmp_path):
    path = turned(tmp_path / "m.png", SHAPE, 6)
    assert np.array_equal(read_inside(path, "m"), np.rot90(DISC, -1))
    assert np.array_equal(read_gray(path, "m"), np.rot90(SHAPE, -1))
    assert np.array_equal(
        read_label_numbers(turned(tmp_path / "n.png", DISC.astype(np.uint8), 3), "n"), DISC[::-1, ::-1]
    )


def test_a_mask_that_could_lie_either_way_is_told(tmp_path):
    mask = saved(tmp_path / "m.png", SHAPE)
    upside_down = turned(tmp_path / "a.jpg", WHITE, 3)
    assert "a.jpg is turned as its EXIF orientation 3 says, m.png has none" in note_of_turn(upside_down, mask, (48, 64))
    sideways = turned(tmp_path / "b.jpg", WHITE, 6)
    assert note_of_turn(sideways, mask, (64, 48)) is None  # it does not fit the other way
    assert note_of_turn(sideways, mask, (64, 64)) is not None
    assert note_of_turn(upside_down, turned(tmp_path / "n.png", SHAPE, 3), (48, 64)) is None
    assert note_of_turn(mask, mask, (48, 64)) is None
    with pytest.raises(DataError, match="its image 64 and 48 as its EXIF orientation turns it"):
        read_mask_file(mask, "m", (64, 48))


# ---- what libraries stretch, and numbers that mean "not known"


@pytest.mark.parametrize("bits", [2, 4])
def test_numbers_stored_in_few_bits_are_refused_and_masks_read(tmp_path, bits):
    full = 2**bits - 1
    numbers = png_of_few_bits(tmp_path / "n.png", np.where(DISC, 2, 0), bits)
    assert Image.open(numbers).getextrema() == (0, 2 * 255 // full)  # which nobody wrote
    for read in (read_label_numbers, read_values):
        with pytest.raises(DataError, match=f"stores {bits} bits per pixel: its highest number 2 is shown as"):
            read(numbers, "n")
    for inside in (1, full):
        mask = png_of_few_bits(tmp_path / "m.png", np.where(DISC, inside, 0), bits)
        assert np.array_equal(read_inside(mask, "m"), DISC)


def test_one_bit_is_a_mask_and_the_numbers_0_and_1(tmp_path):
    path = png_of_few_bits(tmp_path / "m.png", DISC.astype(int), 1)
    assert np.array_equal(read_inside(path, "m"), DISC)
    assert np.array_equal(read_label_numbers(path, "m"), DISC)


BORDER = (np.hypot(ROWS - 20, COLUMNS - 36) < 13) & ~DISC


@pytest.mark.parametrize("palette", [False, True], ids=["gray", "palette"])
@pytest.mark.parametrize(
    "values",
    [
        np.where(DISC, 1, np.where(BORDER, 255, 0)),
        np.where(DISC, 1, 255),
        np.where(BORDER & (ROWS == 20), 1, np.where(DISC, 255, 0)),
        np.where(DISC, 20, np.where(BORDER, 200, 0)),
        np.where(DISC, 2, np.where(BORDER, 255, 0)) + (ROWS < 5),
    ],
    ids=["edge in doubt", "outside in doubt", "few pixels", "two labels", "four grays"],
)
def test_a_number_near_0_beside_a_bright_one_is_no_background(tmp_path, values, palette):
    image = Image.fromarray(values.astype(np.uint8))
    if palette:
        image.putpalette([0, 0, 0, *[128, 0, 0] * 255])
    image.save(tmp_path / "m.png")
    with pytest.raises(DataError, match=r"it has areas of (1|2|20|1, 2), neither 0 nor 2\d\d"):
        read_inside(tmp_path / "m.png", "m")


def test_a_mask_of_one_gray_is_all_or_nothing(tmp_path):
    assert read_inside(saved(tmp_path / "m.png", WHITE), "m").all()
    assert not read_inside(saved(tmp_path / "m.png", BLACK), "m").any()


@pytest.mark.parametrize("quality", [60, 95, 100])
def test_what_compression_leaves_near_0_is_background_also_as_png(tmp_path, quality):
    path = saved(tmp_path / "m.jpg", SHAPE, quality=quality)
    Image.open(path).save(tmp_path / "m.png")
    assert np.array_equal(read_inside(tmp_path / "m.png", "m"), read_inside(path, "m"))
    assert (read_inside(path, "m") != DISC).sum() <= 4


@pytest.mark.parametrize("kind", ["WebP", "TIFF", "GIF", "BMP"])
def test_another_format_under_this_name_is_called_what_it_is(tmp_path, kind):
    saved(tmp_path / "m.png", SHAPE, format=kind)
    with pytest.raises(DataError, match=f"it is {kind}, no JPEG or PNG. Remedy: Convert it to PNG"):
        read_image_file(tmp_path / "m.png", "m")
