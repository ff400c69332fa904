"""Read submitted labels: masks by name, on the image's own grid."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ctan_monai.data.formats.image_masks import read_label_numbers
from ctan_monai.data.formats.itk_volume import NRRD_SUFFIX
from ctan_monai.data.formats.nifti import NIFTI_SUFFIXES, load_nifti
from ctan_monai.errors import DataError
from ctan_monai.serve.label_names import is_structure, label_of, names_of_numbers
from ctan_monai.serve.nrrd import Nrrd, read_nrrd
from ctan_monai.tasks import Segmentation

LABEL_SUFFIXES = (*NIFTI_SUFFIXES, NRRD_SUFFIX, ".png")
_SEGMENT = re.compile(r"Segment(\d{1,4})_Name")
_WHOLE = 1e-4  # scaled values this close to whole numbers are those
_CLOSE_VOXELS = 0.05  # viewers write affines in single precision
_AGAIN = "Draw the label on the image itself."
Array = npt.NDArray[Any]
Layer = tuple[Array, Mapping[int, str]]


@dataclass(frozen=True, eq=False)
class Drawn:
    """Submitted masks of an image.

    Args:
        masks: bool (*S) on the image's own grid, by label; labels without a voxel are left out.
        affine_ras: (4, 4) of that grid; None for an image.
    """

    masks: Mapping[str, npt.NDArray[np.bool_]]
    affine_ras: npt.NDArray[np.float64] | None


def read_drawn(
    image: Path, label: Path, info: Mapping[str, Any], tasks: Sequence[Segmentation], case: str | None = None
) -> Drawn:
    """Read a submitted label, interpreting numbers by names.

    Args:
        image: what it was drawn on.
        label: NIfTI, NRRD (also .seg.nrrd, whose segments have names of their own and may overlap) or PNG.
        info: what came with it, see `names_of_numbers`.
        tasks: the segmentations of the app.
        case: id, for messages.

    Raises:
        DataError: it cannot be read, lies elsewhere than the image, or a number has no name that is a label.
    """
    layers, affine_ras = _layers(label, info, tasks, case)
    shape, image_ras = grid_of(image, case)
    if (affine_ras is None) != (image_ras is None):
        raise DataError(label, case, "a volume's label for an image, or the other way round.", _AGAIN)
    masks: dict[str, npt.NDArray[np.bool_]] = {}
    for numbers, names in layers:
        placed = _placed(numbers, affine_ras, shape, image_ras, label, case)
        for number, name in names.items():
            mask = placed == number
            if name in masks and mask.any():
                raise DataError(label, case, f"two segments are called {name}.", "Join them, and submit again.")
            if mask.any():
                masks[name] = mask
    if not masks:
        raise DataError(label, case, "it holds nothing but 0.", "Draw something, and submit again.")
    return Drawn(masks, image_ras)


def grid_of(image: Path, case: str | None) -> tuple[tuple[int, ...], npt.NDArray[np.float64] | None]:
    """Return the shape of an image, and its affine unless it is an image.

    Raises:
        DataError: it cannot be read.
    """
    name = image.name.lower()
    if name.endswith(NIFTI_SUFFIXES):
        values, affine_ras = load_nifti(image, case, channels=16)
        return values.shape[:3], affine_ras
    if name.endswith(NRRD_SUFFIX):
        found = read_nrrd(image)
        return found.values.shape[:3], found.affine_ras
    from PIL import Image, ImageOps

    try:
        with Image.open(image) as opened:
            turned = ImageOps.exif_transpose(opened)
            return (turned.height, turned.width), None
    except (OSError, ValueError) as error:
        raise DataError(image, case, f"it cannot be read ({error}).", "Give NIfTI, NRRD, JPEG or PNG.") from error


def _layers(
    label: Path, info: Mapping[str, Any], tasks: Sequence[Segmentation], case: str | None
) -> tuple[list[Layer], npt.NDArray[np.float64] | None]:
    name = label.name.lower()
    affine_ras: npt.NDArray[np.float64] | None = None
    if name.endswith(NIFTI_SUFFIXES):
        numbers, affine_ras = load_nifti(label, case)
    elif name.endswith(NRRD_SUFFIX):
        found = read_nrrd(label)
        segments = _segments(found, label, case)
        if segments:
            return [(values, _own_names(names, values, tasks, label)) for values, names in segments], found.affine_ras
        if found.values.ndim > 3:
            raise DataError(label, case, "its layers have no names.", "Save the segmentation as .seg.nrrd again.")
        numbers, affine_ras = found.values, found.affine_ras
    elif name.endswith(".png"):
        numbers = read_label_numbers(label, case or "")
    else:
        found_suffix = f"it ends in {''.join(label.suffixes)[-16:]!r}, expected one of {', '.join(LABEL_SUFFIXES)}."
        raise DataError(label, case, found_suffix, "In 3D Slicer, choose .nii.gz as MONAI Label's file extension.")
    numbers = _whole(numbers, label, case)
    return [(numbers, names_of_numbers(_present(numbers), info, tasks, label))], affine_ras


def _segments(found: Nrrd, label: Path, case: str | None) -> list[tuple[Array, dict[int, str]]]:
    """Return the layers of a .seg.nrrd with the segments' names by number; empty for a plain label map."""
    header = found.header
    places = sorted(int(match[1]) for match in map(_SEGMENT.fullmatch, header) if match)
    layers: dict[int, dict[int, str]] = {}
    for at in places:
        try:
            name = header[f"Segment{at}_Name"]
            alone = found.values.ndim > 3 or len(places) == 1  # before Slicer 5, each segment had a layer of its own
            layer = int(header.get(f"Segment{at}_Layer", at if alone else "none"))
            number = int(header.get(f"Segment{at}_LabelValue", 1 if alone else "none"))
            depth = found.values.shape[3] if found.values.ndim > 3 else 1
            if not 0 <= layer < depth or number in layers.get(layer, {}):
                raise ValueError(f"segment {at}")
        except (KeyError, ValueError) as error:
            reason = f"its header does not say where each segment is ({error})."
            raise DataError(label, case, reason, "Save the segmentation as .seg.nrrd again.") from error
        layers.setdefault(layer, {})[number] = name
    values = found.values if found.values.ndim > 3 else found.values[..., None]
    return [(_whole(values[..., layer], label, case), names) for layer, names in sorted(layers.items())]


def _own_names(names: Mapping[int, str], values: Array, tasks: Sequence[Segmentation], label: Path) -> dict[int, str]:
    """Return the labels of the non-empty segments; each number must be a segment."""
    present = _present(values)
    nameless = [number for number in present if number not in names]
    if nameless:
        raise DataError(label, None, f"no segment has the number {nameless[0]}.", "Save it as .seg.nrrd again.")
    return {number: label_of(names[number], tasks, label) for number in present if is_structure(names[number])}


def _present(numbers: Array) -> list[int]:
    return [int(number) for number in np.unique(numbers) if number]


def _whole(numbers: Array, label: Path, case: str | None) -> Array:
    if numbers.dtype.kind in "iub":
        whole = numbers
    else:
        whole = np.rint(numbers)
        if not np.isfinite(numbers).all() or np.abs(numbers - whole).max(initial=0) > _WHOLE:
            raise DataError(label, case, "its values are no whole numbers.", "Submit a label map.")
        whole = whole.astype(np.int64)
    if whole.min(initial=0) < 0:
        raise DataError(label, case, f"it holds the number {int(whole.min())}.", "Submit a label map, 0 outside.")
    return whole


def _placed(
    numbers: Array,
    affine_ras: npt.NDArray[np.float64] | None,
    shape: tuple[int, ...],
    image_ras: npt.NDArray[np.float64] | None,
    label: Path,
    case: str | None,
) -> Array:
    """Reorient or pad a label map to the image's grid."""
    if affine_ras is None or image_ras is None:
        if numbers.shape != shape:
            found = f"the label has {_by(numbers.shape)} pixels, the image {_by(shape)}."
            raise DataError(label, case, found, "Draw the label on the image itself.")
        return numbers
    to_image = np.linalg.solve(image_ras, affine_ras)  # label index -> image index
    axes = np.rint(to_image[:3, :3])
    corners = np.array(np.meshgrid(*[(0, size - 1) for size in numbers.shape], indexing="ij")).reshape(3, -1)
    there = to_image[:3, :3] @ corners + to_image[:3, 3:]
    turned = abs(abs(np.linalg.det(axes)) - 1) < 1e-6 and np.abs(axes).sum() == 3
    off = np.abs(there - (axes @ corners + np.rint(there[:, :1]))).max()
    index = np.nonzero(numbers)
    if turned and off <= _CLOSE_VOXELS:
        target = (axes @ np.array(index) + np.rint(there[:, :1])).astype(np.int64)
        if not len(index[0]) or ((target >= 0).all() and (target < np.array(shape)[:, None]).all()):
            placed = np.zeros(shape, numbers.dtype)
            placed[tuple(target)] = numbers[index]
            return placed
    found = f"the label map is {numbers.shape}, the image {shape}, or their places differ."
    raise DataError(label, case, found, _AGAIN)


def _by(shape: Iterable[int]) -> str:
    return " x ".join(str(size) for size in shape)
