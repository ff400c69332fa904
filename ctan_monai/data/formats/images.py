"""JPEG and PNG images, read to arrays of a given size."""

from __future__ import annotations

import hashlib
import io
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ctan_monai.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

IMAGE_FILE_SUFFIXES = (".jpg", ".jpeg", ".png")
CHANNELS = ("red", "green", "blue")
THUMBNAIL_SIDE = 16  # see `leakage`: enough to know an image again, too little to be one
_READABLE_MODES = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"}
_PIXELS_MAX = 100_000_000  # beyond any camera; a damaged header could ask for gigabytes
_AGAIN = "Copy or download this file again."
_OTHERS = {
    b"RIFF": "WebP",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"GIF8": "GIF",
    b"BM": "BMP",
    b"\0\0\0\x0cjP": "JPEG 2000",
    b"%PDF": "PDF",
    b"<": "a web page or SVG",
}  # by their first bytes
_EXIF_ORIENTATION = 0x0112
STRETCHED = "bits of gray that Pillow stretched to 8"  # in the info of an image, of a PNG with 2 or 4
_PNG_BITS, _PNG_KIND = 24, 25  # bytes of a PNG with its bits per channel, and its kind of color: 0 is gray

_FLAT = 1.0  # gray levels: an image that varies less has nothing to be known by
_THUMBNAIL_SCALE = 20  # steps in a standard deviation

Bytes = npt.NDArray[np.uint8]
Thumbnail = npt.NDArray[np.int8]


@dataclass(frozen=True)
class RgbImage:
    """A color image.

    Args:
        rgb: (H, W, 3) uint8, at the size that was asked for.
        full_shape: rows and columns of the file, turned as its EXIF orientation says.
        sha256: of the file, as hex.
        thumbnail: what the image can be known by again, see `thumbnail_of`.
        mean_rgb: its mean color, 0 to 255, before it was resized.
        padded_shape: rows and columns that ``rgb`` covers, where zeros were added below or to the right.
        box: first row, first column, rows and columns of the part of the file that ``rgb`` covers; None: all of it.
    """

    rgb: Bytes
    full_shape: tuple[int, int]
    sha256: str
    thumbnail: Thumbnail
    mean_rgb: tuple[float, float, float]
    padded_shape: tuple[int, int] | None = None
    box: tuple[int, int, int, int] | None = None

    @property
    def part_shape(self) -> tuple[int, int]:
        """Rows and columns of the file that ``rgb`` shows."""
        return self.full_shape if self.box is None else (self.box[2], self.box[3])

    @property
    def whole_shape(self) -> tuple[int, int]:
        """Rows and columns that ``rgb`` covers, in pixels of the file, with what was added."""
        return self.padded_shape or self.part_shape

    @property
    def affine_ras(self) -> npt.NDArray[np.float64]:
        """(4, 4) from (row, column) of ``rgb`` to the pixels of the file, see `image_affine_ras`."""
        found = image_affine_ras(self.whole_shape, (self.rgb.shape[0], self.rgb.shape[1]))
        if self.box is not None:
            found[:2, 3] -= (self.box[1], self.box[0])
        return found


def read_image_file(path: str | Path, case: str, size: tuple[int, int] | None = None, square: bool = False) -> RgbImage:
    """Read a color image.

    Args:
        path: a JPEG or PNG file of 8 bits per channel, opaque; gray ones and palettes become RGB.
        case: id, for the message.
        size: rows and columns to resize to, each new pixel an average of what it covers; None keeps the file's.
        square: first add zeros below or to the right, so that a pixel keeps its place, to make it a square.

    Raises:
        DataError: the file is missing, cut short, garbled, no JPEG or PNG, has more than 8 bits per channel, or a pixel
            is transparent.
    """
    path = Path(path)
    content = image_bytes(path, case)
    image = decode_image(content, path, case)
    if image.mode not in _READABLE_MODES:
        reason = f"its pixels are of the kind {image.mode}, expected 8 bits per channel."
        raise DataError(path, case, reason, "Convert it to an RGB image.")
    check_opaque(image, path, case)
    image = upright(image).convert("RGB")
    return rgb_image(image, path, case, hashlib.sha256(content).hexdigest(), size, square)


def rgb_image(
    image: Image,
    path: Path,
    case: str,
    sha256: str,
    size: tuple[int, int] | None,
    square: bool,
    box: tuple[int, int, int, int] | None = None,
) -> RgbImage:
    """Cut, pad and resize a color image.

    Args:
        image: all of the file, RGB.
        path: the file, for the message.
        case: id, for the message.
        sha256: of the file.
        size: see `read_image_file`.
        square: see `read_image_file`.
        box: first row, first column, rows and columns of the part to keep; None: all of it.

    Raises:
        DataError: each pixel has the same color.
    """
    from PIL.Image import Resampling

    full_shape = (image.height, image.width)
    if box is not None:
        top, left, rows, columns = box
        image = image.crop((left, top, left + columns, top + rows))
    colors = image.getcolors(1)
    if colors is not None:
        where = "" if box is None else " inside of its ultrasound region"
        reason = f"each of its pixels{where} is {colors[0][1]}."
        raise DataError(path, case, reason, "Give an image that shows something.")
    shape = (image.height, image.width)
    thumbnail, color = thumbnail_of(image), mean_rgb(image)
    padded = (max(shape), max(shape)) if square else None
    if padded is not None:
        image = image.crop((0, 0, padded[1], padded[0]))  # what lies outside is 0
    if size is not None and size != (padded or shape):
        image = image.resize((size[1], size[0]), Resampling.BILINEAR)  # Pillow widens the filter when it shrinks
    return RgbImage(np.array(image), full_shape, sha256, thumbnail, color, padded, box)


def orientation_of(image: Image) -> int:
    """Return the EXIF orientation of an image, 1 to 8; 1, upright, if it says none."""
    found = image.getexif().get(_EXIF_ORIENTATION, 1)
    return found if found in range(2, 9) else 1


def upright(image: Image) -> Image:
    """Apply an image's EXIF orientation, as viewers do."""
    from PIL import ImageOps

    return ImageOps.exif_transpose(image) if orientation_of(image) != 1 else image


def alpha_of(image: Image) -> Bytes | None:
    """Return the alpha channel, (H, W) from 0 to 255; None if all pixels are opaque.

    A PNG has a channel for it, or its chunk tRNS, which makes one color or entries of a palette transparent.
    """
    through = image.info.get("transparency")
    if through is None and "A" not in image.getbands():
        return None
    if image.mode.startswith("I"):  # Pillow makes these opaque
        found = np.where(np.array(image) == through, 0, 255).astype(np.uint8)
    else:
        found = np.array(image.convert("RGBA"))[..., 3]
    return None if found.min() == 255 else found


def check_opaque(image: Image, path: Path, case: str) -> None:
    """Refuse an image with transparent pixels: what stands in them is not meant to be seen, and often left over.

    Raises:
        DataError: a pixel is not opaque.
    """
    alpha = alpha_of(image)
    if alpha is not None:
        reason = f"{int((alpha < 255).sum())} of its {alpha.size} pixels are transparent (alpha below 255)."
        raise DataError(path, case, reason, "Store it without transparency, as it shall be seen.")


def thumbnail_of(image: Image) -> Thumbnail:
    """Compute a perceptual hash: 16 x 16 gray values, normalized in brightness and contrast.

    Returns:
        (16, 16) int8 with mean 0 and a standard deviation of 20; 0 for an image without contrast.
    """
    from PIL.Image import Resampling

    gray = image.convert("L").convert("F").resize((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Resampling.BILINEAR)
    values = np.array(gray, np.float64)
    values -= values.mean()
    std = float(values.std())
    if std < _FLAT:
        return np.zeros(values.shape, np.int8)
    return np.clip(np.rint(values / std * _THUMBNAIL_SCALE), -127, 127).astype(np.int8)


def mean_rgb(image: Image) -> tuple[float, float, float]:
    """Compute the mean red, green and blue of an RGB image."""
    red, green, blue = np.array(image).reshape(-1, 3).mean(0).tolist()
    return red, green, blue


def image_affine_ras(full_shape: tuple[int, int], shape: tuple[int, int]) -> npt.NDArray[np.float64]:
    """Return the (4, 4) affine of a resized image: from (row, column) to the pixels of the file.

    Lengths are pixels of the file, because a photograph does not say what a pixel is in mm; columns run to the left
    and rows to the back in RAS, as ITK reads a PNG.

    >>> image_affine_ras((450, 600), (225, 300)) @ [0, 1, 0, 1]  # between the file's columns 2 and 3
    array([-2.5, -0.5,  0. ,  1. ])
    """
    y, x = (full / size for full, size in zip(full_shape, shape, strict=True))
    return np.array([[0, -x, 0, -(x - 1) / 2], [-y, 0, 0, -(y - 1) / 2], [0, 0, 1, 0], [0, 0, 0, 1]], np.float64)


def image_bytes(path: Path, case: str) -> bytes:
    """Read the bytes of an image file.

    Raises:
        DataError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(path, case, f"it cannot be read ({error.strerror}).", _AGAIN) from error


def decode_image(content: bytes, path: Path, case: str) -> Image:
    """Decode an image of any pixel type.

    Raises:
        DataError: it is no whole JPEG or PNG, an animation, or has several channels of 16 bits.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        image = Image.open(io.BytesIO(content), formats=("JPEG", "PNG"))
        if image.width * image.height > _PIXELS_MAX:
            reason = f"it has {image.width} x {image.height} pixels, expected {_PIXELS_MAX} at most."
            raise DataError(path, case, reason, "Make the image smaller.")
        image.verify()  # the checksums of a PNG, which loading passes over
        image = Image.open(io.BytesIO(content), formats=("JPEG", "PNG"))
        image.load()
        if image.format == "PNG" and getattr(image, "n_frames", 1) > 1:
            reason = f"it is an animation of {getattr(image, 'n_frames', 1)} images, expected one."
            raise DataError(path, case, reason, "Store the image that is meant.")
        if image.format == "PNG" and content[_PNG_BITS] == 16 and content[_PNG_KIND] != 0:
            # Pillow keeps the high byte only, and says RGB
            reason = f"its {len(image.getbands())} channels have 16 bits each, expected 8 bits per channel."
            raise DataError(path, case, reason, "Convert it to 8 bits per channel, scaling its values to 0 to 255.")
        if image.format == "PNG" and content[_PNG_KIND] == 0 and content[_PNG_BITS] in (2, 4):
            image.info[STRETCHED] = content[_PNG_BITS]
    except UnidentifiedImageError as error:
        kind = next((kind for start, kind in _OTHERS.items() if content.startswith(start)), None)
        found = f"it is {kind}, no JPEG or PNG" if kind else "it is no JPEG or PNG, or was cut short"
        raise DataError(path, case, f"{found}.", "Convert it to PNG." if kind else _AGAIN) from error
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, zlib.error) as error:
        found = f"it is no JPEG or PNG, or was cut short ({type(error).__name__}: {error})"
        raise DataError(path, case, f"{found}.", _AGAIN) from error
    except Image.DecompressionBombError as error:
        raise DataError(path, case, f"it is too large ({error}).", "Make the image smaller.") from error
    return image
