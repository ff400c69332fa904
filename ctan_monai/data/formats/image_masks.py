"""Read masks, label maps and gray values from JPEG and PNG; write masks as PNG.

Such files come from annotation tools and image editors: the mask is black and white, or white with its shape in the
alpha channel, or a palette. What could be read in two ways is refused.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ctan_monai.data.formats.images import (
    STRETCHED,
    alpha_of,
    check_opaque,
    decode_image,
    image_bytes,
    orientation_of,
    upright,
)
from ctan_monai.errors import DataError
from ctan_monai.files.atomic import replacing

if TYPE_CHECKING:
    from PIL.Image import Image

MASK_THRESHOLD = 127  # masks are 0 and 255, some with gray edges from resizing or compression
_HALF_OF_16_BITS = 32767
_SIDEWAYS = 5  # from this EXIF orientation on, rows become columns
_NEARLY = 1 / 8  # of the brightest value: compression and resizing leave 0 and 255 that much apart
_THREE = 3  # grays: 0, 1, and 255 where the structure's edge is in doubt
_LEVELS = 8  # areas of one gray in at most so many grays are labels; a heat map has more
_STORE = "Store the mask with 0 outside and 255 inside, without transparency."

Array = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]


def read_gray(path: Path, case: str, numbers: bool = False) -> Array:
    """Read the gray values of a single-channel image.

    Args:
        path: the file.
        case: id, for the message.
        numbers: the values are measured ones, not what is seen.

    Returns:
        (H, W) of integers, of 8 or 16 bits.

    Raises:
        DataError: it cannot be read, has several channels that differ, or a pixel is transparent; or its numbers are
            ambiguous, because they are stored with 2 or 4 bits.
    """
    image = decode_image(image_bytes(path, case), path, case)
    check_opaque(image, path, case)
    if numbers:
        _check_depth(image, path, case)
    return _gray(upright(image), path, case)


def read_label_numbers(path: Path, case: str) -> Array:
    """Read a label map from PNG: gray values, or palette indices; transparent is 0.

    Returns:
        (H, W) of integers.

    Raises:
        DataError: it cannot be read, is JPEG, has several channels that differ, or says two things about a pixel.
    """
    image = decode_image(image_bytes(path, case), path, case)
    if image.format != "PNG":
        raise DataError(path, case, "it is JPEG, which changes the numbers of labels.", "Store the label map as PNG.")
    _check_depth(image, path, case)
    image = upright(image)
    alpha = alpha_of(image)
    if image.mode != "P":
        numbers = _gray(image, path, case)
    else:
        numbers, shown = np.array(image).astype(np.int32), np.array(image.convert("RGB"))
        if (shown == shown[..., :1]).all() and (numbers != shown[..., 0]).any():
            reason = "its palette shows other gray values than the numbers that it stores."
            raise DataError(path, case, reason, "Store the label map as a gray PNG.")
    if alpha is not None and (hidden := int(((alpha == 0) & (numbers != 0)).sum())):
        reason = f"{hidden} of its pixels hold a label and are transparent."
        raise DataError(path, case, reason, "Store the label map without transparency.")
    return numbers


def read_inside(path: Path, case: str) -> Mask:
    """Read the mask of one structure.

    It is what shows as white: 0 and 255, or gray with values above one half inside, or 0 and 1; in a palette of colors
    the entry 1. Where everything has one color, it is what is opaque. Transparent pixels are outside.

    Returns:
        (H, W) bool.

    Raises:
        DataError: it cannot be read, or can be read in more than one way.
    """
    decoded = decode_image(image_bytes(path, case), path, case)
    image = upright(decoded)
    alpha = alpha_of(image)
    if alpha is None:
        values = _mask_values(image, path, case)
        if decoded.format != "PNG" and values.max() == 1:
            raise DataError(path, case, "it is JPEG, which does not keep 0 and 1 apart.", "Store the mask as PNG.")
        return _bright(values, path, case)
    if alpha.min() == alpha.max():
        reason = f"all of its pixels are transparent (alpha {alpha.max()}), so that it shows nothing."
        raise DataError(path, case, reason, _STORE)
    colors = np.array(image.convert("RGBA"))[..., :3] if image.mode != "I;16" else np.array(image)[..., None]
    seen = colors[alpha > 0]
    if (seen == seen[0]).all() and seen[0].any():  # one color: the shape is in the alpha channel alone
        return np.asarray(alpha > (float(alpha.min()) + float(alpha.max())) / 2)
    bright = _bright(_mask_values(image, path, case), path, case)
    if not bright.any() or (bright & (alpha <= MASK_THRESHOLD)).any():
        what = "some of its white pixels are transparent" if bright.any() else "none of its opaque pixels is white"
        raise DataError(path, case, f"its colors and its alpha channel say different things: {what}.", _STORE)
    return bright


def read_mask_file(
    path: str | Path, case: str, full_shape: tuple[int, int], size: tuple[int, int] | None = None
) -> Mask:
    """Read the mask of an image, see `read_inside`.

    Args:
        path: the file.
        case: id, for the message.
        full_shape: rows and columns of the image that it belongs to.
        size: rows and columns to resize to; a new pixel is inside if more than half of what it covers is.

    Returns:
        (H, W) bool.

    Raises:
        DataError: the file is missing or garbled, has another size than its image, or can be read in two ways.
    """
    inside = read_inside(Path(path), case)
    check_shape(inside.shape, full_shape, Path(path), case)
    return inside if size is None else shrunk_mask(inside, size)


def check_shape(shape: tuple[int, ...], full_shape: tuple[int, int], path: Path, case: str) -> None:
    """Check that a label has the size of its image.

    Raises:
        DataError: they differ.
    """
    if shape == full_shape:
        return
    turned = " as its EXIF orientation turns it" if shape == full_shape[::-1] else ""
    reason = f"it has {shape[0]} rows and {shape[1]} columns, its image {full_shape[0]} and {full_shape[1]}{turned}."
    raise DataError(path, case, reason, "Give the label of this image, drawn on it as viewers show it.")


def note_of_turn(image: Path, label: Path, full_shape: tuple[int, int]) -> str | None:
    """Return a note if a label's orientation is ambiguous: its image has an EXIF orientation, it has none, both fit.

    Args:
        image: the file.
        label: the file, PNG or JPEG.
        full_shape: rows and columns of the image, turned.
    """
    from PIL import Image

    with Image.open(image) as of_image, Image.open(label) as of_label:
        found, of_the_label = orientation_of(of_image), orientation_of(of_label)
    if found == 1 or of_the_label != 1 or (found >= _SIDEWAYS and full_shape[0] != full_shape[1]):
        return None
    return (
        f"{image.name} is turned as its EXIF orientation {found} says, {label.name} has none and is taken as it is: "
        "see that they fit"
    )


def shrunk_mask(mask: Mask, size: tuple[int, int]) -> Mask:
    """Resize a mask; a new pixel is inside if more than half of what it covers is."""
    from PIL import Image

    if mask.shape == size:
        return mask
    resized = Image.fromarray(mask.astype(np.uint8) * 255).resize((size[1], size[0]), Image.Resampling.BOX)
    return np.array(resized) > MASK_THRESHOLD


def _gray(image: Image, path: Path, case: str) -> Array:
    """Convert an image to gray values, (H, W)."""
    if image.mode in ("1", "L") or image.mode.startswith("I"):
        return np.array(image).astype(np.int32)
    values = np.array(image.convert("RGB"))
    if (values != values[..., :1]).any():
        raise DataError(path, case, "it has colors, expected one channel.", "Store it as a gray image.")
    return values[..., 0].astype(np.int32)


def _check_depth(image: Image, path: Path, case: str) -> None:
    """Refuse numbers in a gray PNG of 2 or 4 bits: libraries stretch them to 255, so that 1 of 3 is read as 85."""
    if bits := image.info.get(STRETCHED):
        highest, step = int(np.array(image).max()), 255 // (2**bits - 1)
        reason = f"it stores {bits} bits per pixel: its highest number {highest // step} is shown as {highest}."
        raise DataError(path, case, reason, "Store it with 8 bits per pixel.")


def _mask_values(image: Image, path: Path, case: str) -> Array:
    """Return the values of a mask; of a palette of colors on black, as annotation tools write them, the indices."""
    if image.mode == "P":
        shown, numbers = np.array(image.convert("RGB")), np.array(image).astype(np.int32)
        if (shown != shown[..., :1]).any() and not shown[numbers == 0].any():
            return numbers
    values, bits = _gray(image, path, case), image.info.get(STRETCHED)
    return values // values.max() if bits and values.max() == 255 // (2**bits - 1) else values  # 0 and 1


def _bright(values: Array, path: Path, case: str) -> Mask:
    """Tell which values of a mask are inside."""
    highest = int(values.max())
    threshold = MASK_THRESHOLD if highest <= 255 else _HALF_OF_16_BITS
    if highest <= 1:
        return np.asarray(values > 0)
    one = "Give a mask of one structure; a label map has the column of its task."
    if highest <= threshold:
        reason = f"its values run from {int(values.min())} to {highest}, expected 0 and 1, or 0 and 255."
        raise DataError(path, case, reason, one)
    low, high = round(highest * _NEARLY), round(highest * (1 - _NEARLY))
    grays = np.unique(values)
    areas = _areas_between(values, 0 if len(grays) <= _LEVELS else low, high)  # compression leaves more grays near 0
    if 1 < len(grays) <= _THREE and 0 < grays[-2] <= low:
        areas = [int(grays[-2])]  # as thin as it may be
    if 0 < len(areas) <= _LEVELS:
        reason = f"it has areas of {', '.join(map(str, areas))}, neither 0 nor {highest}."
        raise DataError(path, case, reason, one)
    return np.asarray(values > threshold)


def _areas_between(values: Array, low: int, high: int) -> list[int]:
    """Return the values between two that fill 3 x 3 pixels somewhere; edges that were smoothed do not."""
    middle = values[1:-1, 1:-1]
    flat = (middle > low) & (middle < high)
    if not flat.any():
        return []
    rows, columns = middle.shape
    for row in range(3):
        for column in range(3):
            flat &= values[row : row + rows, column : column + columns] == middle
    return [int(value) for value in np.unique(middle[flat])]


def write_mask_file(
    mask: npt.NDArray[Any], path: str | Path, full_shape: tuple[int, int] | None = None
) -> npt.NDArray[np.bool_]:
    """Write a mask as PNG, 0 outside and 255 inside.

    Args:
        mask: (H, W), not 0 inside.
        path: file to write or replace; never half written.
        full_shape: rows and columns of the image, if the mask lies on a coarser or finer grid over all of it; the
            outline is then where linear interpolation passes one half.

    Returns:
        (H, W) bool, what was written.

    Raises:
        DataError: the file cannot be written.
    """
    from PIL import Image

    inside = resized_mask(mask, full_shape)
    with replacing(Path(path)) as temporary:
        Image.fromarray(inside.astype(np.uint8) * 255).save(temporary, format="PNG")
    return inside


def padded_mask(mask: Mask, padded_shape: tuple[int, int]) -> Mask:
    """Return a mask of an image (rows, columns) as one of the image padded below or to the right."""
    rows, columns = mask.shape
    return np.pad(mask, ((0, padded_shape[0] - rows), (0, padded_shape[1] - columns)))


def resized_mask(mask: npt.NDArray[Any], full_shape: tuple[int, int] | None) -> Mask:
    """Return a mask (H, W) in the rows and columns of its image; the same where they are not known.

    The outline is where linear interpolation passes one half.
    """
    from PIL import Image
    from PIL.Image import Resampling

    inside = np.asarray(mask) != 0
    if full_shape is not None and full_shape != inside.shape:
        gray = Image.fromarray(inside.astype(np.uint8) * 255)
        inside = np.array(gray.resize((full_shape[1], full_shape[0]), Resampling.BILINEAR)) > MASK_THRESHOLD
    return np.asarray(inside, np.bool_)
