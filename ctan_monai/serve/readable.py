"""Give an image to a bundle under a name and in a format that it reads, whatever the image is called."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np

from ctan_monai.data.formats.nifti import NIFTI_SUFFIXES, write_nifti
from ctan_monai.errors import DataError
from ctan_monai.serve.names import is_plain
from ctan_monai.serve.nrrd import NRRD_SUFFIX, read_nrrd

_NAME = "image"


def readable(image: Path, folder: Path) -> Path:
    """Return the path of an image that a bundle can read.

    Args:
        image: a file, or a folder of DICOM.
        folder: for a link, or for what is converted; it must outlive the use.

    Returns:
        The image itself; a link to it, if its name cannot be an id; NIfTI, if it is NRRD.

    Raises:
        DataError: an NRRD cannot be read, or holds no volume.
    """
    name = image.name.lower()
    if image.is_dir():
        return image
    if name.endswith(NRRD_SUFFIX):
        found = read_nrrd(image)
        if found.affine_ras is None or found.values.ndim != 3:
            raise DataError(image, None, f"its shape is {found.values.shape}.", "Give one volume.")
        stem = image.name[: -len(NRRD_SUFFIX)]
        path = folder / f"{stem if is_plain(stem) else _NAME}.nii"
        kept = found.values.astype(np.int32) if found.values.dtype.itemsize == 8 else found.values
        write_nifti(kept if found.values.dtype.kind in "iu" else found.values, found.affine_ras, path)
        return path
    suffix = next((each for each in NIFTI_SUFFIXES if name.endswith(each)), image.suffix)
    if is_plain(image.name[: len(image.name) - len(suffix)]) or not image.is_file():
        return image
    path = folder / f"{_NAME}{suffix.lower()}"
    try:
        os.symlink(image.resolve(), path)
    except OSError:  # not everybody may make links on Windows
        shutil.copyfile(image, path)
    return path
