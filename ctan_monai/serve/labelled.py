"""From an image and a corrected label map to cases that can be learned from."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ctan_monai.data.cache import read_case_file, write_case
from ctan_monai.data.cases import Case
from ctan_monai.data.nifti import NIFTI_SUFFIXES, load_nifti
from ctan_monai.data.regrid import Regrid
from ctan_monai.errors import DataError
from ctan_monai.tasks import Regression, Segmentation, Task, region_key

_CLOSE_MM = 1e-2  # viewers write affines in single precision


def labelled_case(
    file: Path, image: Path, label: Path, task: Segmentation, folder: Path, others: Iterable[Task] = ()
) -> Path:
    """Write a cached case again with the masks of a label map.

    A label that does not occur in the map is unknown, not known to be absent: whoever corrects one organ need not draw
    the others. Every other label of the case is left out.

    Args:
        file: the cached case of the image.
        image: the image.
        label: a label map on the image's grid, labels numbered from 1 in the task's order.
        task: whose labels these are.
        folder: for the new file.
        others: tasks without a label here; one that is learned in a region gets the whole image as such.

    Returns:
        The new file.

    Raises:
        DataError: the label map cannot be read, lies on another grid, or holds other values.
    """
    case = read_case_file(file)
    numbers, affine_ras = _read_label(image, label, case)
    found = _masks_of(numbers, label, case.case, task)
    masks = {name: _on_grid(mask, affine_ras, case) for name, mask in found.items()}
    kept: Mapping[str, Any] = {name: mask for name, mask in case.masks.items() if name not in task.labels}
    everywhere = {
        region_key(other): np.ones(case.shape, np.bool_)
        for other in others
        if isinstance(other, Regression) and other.region == "mask"
    }
    path = folder / file.name
    write_case(path, dataclasses.replace(case, masks={**everywhere, **kept, **masks}, values={}))
    return path


def check_label(path: str | Path) -> None:
    """See that a file is a label map that can be learned from, as far as it tells by itself.

    Raises:
        DataError: it is neither NIfTI nor PNG, or is damaged.
    """
    path = Path(path)
    if path.name.lower().endswith(NIFTI_SUFFIXES):
        load_nifti(path, None)
    elif path.suffix.lower() == ".png":
        read_label_picture(path, path.stem)
    else:
        found = f"it ends in {''.join(path.suffixes)!r}, expected .nii.gz or .png."
        raise DataError(path, None, found, "In 3D Slicer, choose .nii.gz as MONAI Label's file extension.")


def _masks_of(
    numbers: npt.NDArray[Any], label: Path, case: str, task: Segmentation
) -> dict[str, npt.NDArray[np.bool_]]:
    present = {float(number) for number in np.unique(numbers)} - {0.0}
    known = {float(number): name for number, name in enumerate(task.labels, start=1)}
    unknown = sorted(present - set(known))
    if unknown or not present:
        listed = ", ".join(f"{number:g}" for number in unknown[:5]) or "nothing but 0"
        expected = ", ".join(f"{number:g} {name}" for number, name in known.items())
        reason = f"the label map holds {listed}, expected 0 and some of {expected}."
        raise DataError(label, case, reason, "Correct the label, and submit it again.")
    return {known[number]: numbers == number for number in sorted(present)}


def _read_label(image: Path, label: Path, case: Case) -> tuple[npt.NDArray[Any], npt.NDArray[np.float64] | None]:
    """Return a label map, and its affine unless it is a picture."""
    if not label.name.lower().endswith(NIFTI_SUFFIXES):
        found = read_label_picture(label, case.case)
        expected = case.meta.get("full_shape")
        if expected is not None and list(found.shape) != list(expected):
            said = (
                f"the label has {found.shape[0]} x {found.shape[1]} pixels, the picture {expected[0]} x {expected[1]}."
            )
            raise DataError(label, case.case, said, "Draw the label on the picture itself.")
        return found, None
    numbers, affine_ras = load_nifti(label, case.case)
    if image.name.lower().endswith(NIFTI_SUFFIXES):
        values, of_image_ras = load_nifti(image, case.case, channels=16)
        if values.shape[:3] != numbers.shape or not np.allclose(affine_ras, of_image_ras, atol=_CLOSE_MM):
            said = f"the label map is {numbers.shape}, the image {values.shape[:3]}, or their places differ."
            raise DataError(label, case.case, said, "Draw the label on the image itself.")
    return numbers, affine_ras


def read_label_picture(label: Path, case: str) -> npt.NDArray[Any]:
    """Read a label map that is a PNG.

    Raises:
        DataError: it cannot be read, or has several channels.
    """
    from PIL import Image

    try:
        with Image.open(label) as picture:
            found = np.array(picture)
    except (OSError, ValueError) as error:
        raise DataError(label, case, f"it cannot be read ({error}).", "Give the label as PNG.") from error
    if found.ndim != 2:
        raise DataError(label, case, f"its shape is {found.shape}.", "Give a label map with one channel.")
    return found


def _on_grid(
    mask: npt.NDArray[np.bool_], affine_ras: npt.NDArray[np.float64] | None, case: Case
) -> npt.NDArray[np.bool_]:
    """Bring a mask to the case's grid: where at least half of it is inside after linear interpolation."""
    if affine_ras is not None:
        if len(case.shape) != 3:
            raise DataError(case.case, case.case, "a volume's label for a picture.", "Give the label of the picture.")
        rows, columns, slices = case.shape
        return Regrid(affine_ras, case.affine_ras, (rows, columns, slices)).mask(mask.astype(np.float32))
    dense = torch.from_numpy(mask.astype(np.float32))[None, None]  # (1, 1, H, W)
    size = case.shape[:2]
    return np.asarray(torch.nn.functional.interpolate(dense, size=size, mode="area")[0, 0].numpy() >= 0.5)
