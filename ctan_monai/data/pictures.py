"""JPEG and PNG pictures and their masks: read to arrays of a wanted size, written as PNG."""

from __future__ import annotations

import hashlib
import io
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ctan_monai.data.atomic import replacing
from ctan_monai.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png")
CHANNELS = ("red", "green", "blue")
THUMBNAIL_SIDE = 16  # see `leakage`: enough to know a picture again, too little to be one
MASK_THRESHOLD = 127  # masks are 0 and 255, some with grey edges from resizing
_READABLE_MODES = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"}
_PIXELS_MAX = 100_000_000  # beyond any camera; a damaged header could ask for gigabytes
_AGAIN = "Copy or download this file again."

_FLAT = 1.0  # grey levels: a picture that varies less has nothing to be known by
_THUMBNAIL_SCALE = 20  # steps in a standard deviation

Bytes = npt.NDArray[np.uint8]
Thumbnail = npt.NDArray[np.int8]


@dataclass(frozen=True)
class Picture:
    """A colour picture.

    Args:
        rgb: (H, W, 3) uint8, at the size that was asked for.
        full_shape: rows and columns of the file, turned as its EXIF orientation says.
        sha256: of the file, as hex.
        thumbnail: what the picture can be known by again, see `thumbnail_of`.
        mean_rgb: its mean colour, 0 to 255, before it was resized.
    """

    rgb: Bytes
    full_shape: tuple[int, int]
    sha256: str
    thumbnail: Thumbnail
    mean_rgb: tuple[float, float, float]


def read_picture(path: str | Path, case: str, size: tuple[int, int] | None = None) -> Picture:
    """Read a picture.

    Args:
        path: a JPEG or PNG file of 8 bits per channel; grey ones and palettes become RGB.
        case: id, for the message.
        size: rows and columns to resize to, each new pixel an average of what it covers; None keeps the file's.

    Raises:
        DataError: the file is missing, cut short, garbled, no JPEG or PNG, or has more than 8 bits per channel.
    """
    from PIL import ImageOps
    from PIL.Image import Resampling

    path = Path(path)
    content = picture_bytes(path, case)
    image = decode_picture(content, path, case)
    if image.mode not in _READABLE_MODES:
        reason = f"its pixels are of the kind {image.mode}, expected 8 bits per channel."
        raise DataError(path, case, reason, "Convert it to an RGB picture.")
    image = ImageOps.exif_transpose(image).convert("RGB")
    colours = image.getcolors(1)
    if colours is not None:
        reason = f"each of its pixels is {colours[0][1]}."
        raise DataError(path, case, reason, "Give a picture that shows something.")
    full_shape = (image.height, image.width)
    thumbnail, colour = thumbnail_of(image), mean_rgb(image)
    if size is not None and size != full_shape:
        image = image.resize((size[1], size[0]), Resampling.BILINEAR)  # Pillow widens the filter when it shrinks
    return Picture(np.array(image), full_shape, hashlib.sha256(content).hexdigest(), thumbnail, colour)


def thumbnail_of(image: Image) -> Thumbnail:
    """Return a perceptual hash: 16 x 16 grey values, brightness and contrast taken out.

    Returns:
        (16, 16) int8 with mean 0 and a standard deviation of 20; 0 for a picture without contrast.
    """
    from PIL.Image import Resampling

    grey = image.convert("L").convert("F").resize((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Resampling.BILINEAR)
    values = np.array(grey, np.float64)
    values -= values.mean()
    deviation = float(values.std())
    if deviation < _FLAT:
        return np.zeros(values.shape, np.int8)
    return np.clip(np.rint(values / deviation * _THUMBNAIL_SCALE), -127, 127).astype(np.int8)


def mean_rgb(image: Image) -> tuple[float, float, float]:
    """Return the mean red, green and blue of an RGB picture."""
    red, green, blue = np.array(image).reshape(-1, 3).mean(0).tolist()
    return red, green, blue


def read_picture_mask(
    path: str | Path, case: str, full_shape: tuple[int, int], size: tuple[int, int] | None = None
) -> npt.NDArray[np.bool_]:
    """Read the mask of a picture: black and white, a palette of both, or grey with values above 127 inside.

    Args:
        path: the file.
        case: id, for the message.
        full_shape: rows and columns of the picture that it belongs to.
        size: rows and columns to resize to; a new pixel is inside if more than half of what it covers is.

    Returns:
        (H, W) bool.

    Raises:
        DataError: the file is missing or garbled, has another size than its picture, or grey values of 127 at most.
    """
    from PIL import Image
    from PIL.Image import Resampling

    path = Path(path)
    grey = np.array(decode_picture(picture_bytes(path, case), path, case).convert("L"))  # palettes too
    if grey.shape != full_shape:
        reason = f"it has {grey.shape[0]} rows and {grey.shape[1]} columns, its picture {full_shape[0]} and "
        raise DataError(path, case, f"{reason}{full_shape[1]}.", "Give the mask of this picture.")
    if 0 < grey.max() <= MASK_THRESHOLD:
        reason = f"its values run from {grey.min()} to {grey.max()}, expected 0 outside and 255 inside."
        raise DataError(path, case, reason, "Store the mask with 255 inside.")
    inside = grey > MASK_THRESHOLD
    if size is None or size == full_shape:
        return inside
    shares = Image.fromarray(inside.astype(np.uint8) * 255).resize((size[1], size[0]), Resampling.BOX)
    return np.array(shares) > MASK_THRESHOLD


def write_picture_mask(
    mask: npt.NDArray[Any], path: str | Path, full_shape: tuple[int, int] | None = None
) -> npt.NDArray[np.bool_]:
    """Write a mask as PNG, 0 outside and 255 inside.

    Args:
        mask: (H, W), not 0 inside.
        path: file to write or replace; never half written.
        full_shape: rows and columns of the picture, if the mask lies on a coarser or finer grid over all of it; the
            outline is then where linear interpolation passes one half.

    Returns:
        (H, W) bool, what was written.

    Raises:
        DataError: the file cannot be written.
    """
    from PIL import Image
    from PIL.Image import Resampling

    inside = np.asarray(mask) != 0
    if full_shape is not None and full_shape != inside.shape:
        grey = Image.fromarray(inside.astype(np.uint8) * 255)
        inside = np.array(grey.resize((full_shape[1], full_shape[0]), Resampling.BILINEAR)) > MASK_THRESHOLD
    with replacing(Path(path)) as temporary:
        Image.fromarray(inside.astype(np.uint8) * 255).save(temporary, format="PNG")
    return np.asarray(inside, np.bool_)


def picture_affine_ras(full_shape: tuple[int, int], shape: tuple[int, int]) -> npt.NDArray[np.float64]:
    """Return the (4, 4) affine of a resized picture: from (row, column) to the pixels of the file.

    Lengths are pixels of the file, because a photograph does not say what a pixel is in mm; columns run to the left
    and rows to the back in RAS, as ITK reads a PNG.

    >>> picture_affine_ras((450, 600), (225, 300)) @ [0, 1, 0, 1]  # between the file's columns 2 and 3
    array([-2.5, -0.5,  0. ,  1. ])
    """
    y, x = (full / size for full, size in zip(full_shape, shape, strict=True))
    return np.array([[0, -x, 0, -(x - 1) / 2], [-y, 0, 0, -(y - 1) / 2], [0, 0, 1, 0], [0, 0, 0, 1]], np.float64)


def picture_bytes(path: Path, case: str) -> bytes:
    """Return the content of a picture's file.

    Raises:
        DataError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(path, case, f"it cannot be read ({error.strerror}).", _AGAIN) from error


def decode_picture(content: bytes, path: Path, case: str) -> Image:
    """Return the picture that a file's content holds, of any kind of pixels.

    Raises:
        DataError: it is no whole JPEG or PNG.
    """
    from PIL import Image

    try:
        image = Image.open(io.BytesIO(content), formats=("JPEG", "PNG"))
        if image.width * image.height > _PIXELS_MAX:
            reason = f"it has {image.width} x {image.height} pixels, expected {_PIXELS_MAX} at most."
            raise DataError(path, case, reason, "Make the picture smaller.")
        image.verify()  # the checksums of a PNG, which loading passes over
        image = Image.open(io.BytesIO(content), formats=("JPEG", "PNG"))
        image.load()
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, zlib.error) as error:
        found = f"it is no JPEG or PNG, or was cut short ({type(error).__name__}: {error})"
        raise DataError(path, case, f"{found}.", _AGAIN) from error
    except Image.DecompressionBombError as error:
        raise DataError(path, case, f"it is too large ({error}).", "Make the picture smaller.") from error
    return image
