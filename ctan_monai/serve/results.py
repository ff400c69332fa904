"""Write one array of an answer as the file that a viewer gets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ctan_monai.data.atomic import replacing
from ctan_monai.data.nifti import write_nifti
from ctan_monai.serve.answer import Answer


def write_result(answer: Answer, array: npt.NDArray[Any], stem: Path) -> Path:
    """Write a label map or a volume.

    Args:
        answer: which it belongs to.
        array: (*S) on the grid of the answer.
        stem: path of the file without its ending.

    Returns:
        ``<stem>.nii.gz``, of a picture with pixels of 1 mm; for numbers below 256 of a picture ``<stem>.png``.

    Raises:
        DataError: it cannot be written.
    """
    if answer.affine_ras is None and array.dtype == np.uint8:
        from PIL import Image

        path = stem.with_name(f"{stem.name}.png")
        with replacing(path) as temporary:
            Image.fromarray(array).save(temporary, format="PNG")
        return path
    path = stem.with_name(f"{stem.name}.nii.gz")
    affine_ras = np.eye(4) if answer.affine_ras is None else answer.affine_ras
    write_nifti(array, affine_ras, path)
    return path
