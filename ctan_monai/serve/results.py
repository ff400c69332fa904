"""Write the files of predictions for viewers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ctan_monai.data.formats.nifti import write_nifti
from ctan_monai.engines.runs.options import as_bool
from ctan_monai.errors import ConfigError
from ctan_monai.files.atomic import replacing
from ctan_monai.serve.answer import Answer
from ctan_monai.serve.nrrd import write_nrrd

_EXTENSIONS = (".nii.gz", ".nii", ".nrrd", ".seg.nrrd")
_TYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64")


@dataclass(frozen=True)
class Wanted:
    """Requested format of a file; OHIF reads uncompressed .nrrd only.

    Args:
        extension: None leaves the choice to `write_result`.
        dtype: of a label map, None for the smallest.
        compress: gzip inside of .nrrd.
    """

    extension: str | None = None
    dtype: str | None = None
    compress: bool = False


def wanted_from(request: Mapping[str, Any]) -> Wanted:
    """Read ``result_extension``, ``result_dtype`` and ``result_compress`` of a request, as MONAI Label calls them.

    Raises:
        ConfigError: one cannot be used.
    """
    extension, dtype = request.get("result_extension"), request.get("result_dtype")
    for name, value, known in (("result_extension", extension, _EXTENSIONS), ("result_dtype", dtype, _TYPES)):
        if value is not None and value not in known:
            raise ConfigError(name, f"{repr(value)[:40]} is not written.", f"Ask for one of {', '.join(known)}.")
    compress = request.get("result_compress")
    return Wanted(extension, dtype, False if compress is None else as_bool(compress, "result_compress"))


def write_result(
    answer: Answer,
    array: npt.NDArray[Any],
    stem: Path,
    wanted: Wanted | None = None,
    numbers: Mapping[str, int] | None = None,
) -> Path:
    """Write a label map or a volume.

    Args:
        answer: which it belongs to.
        array: (*S) on the grid of the answer.
        stem: path of the file without its ending.
        wanted: the format. A volume keeps its type: a dose in whole numbers would be another dose.
        numbers: of a label map, by name; a .seg.nrrd has them inside.

    Returns:
        ``<stem>.nii.gz``, of an image with pixels of 1 mm; for numbers below 256 of an image ``<stem>.png``; or what
        was asked for.

    Raises:
        ConfigError: a label map has numbers that the type does not hold.
        DataError: it cannot be written.
    """
    wanted = wanted or Wanted()
    if wanted.dtype is not None and numbers:
        array = _as_type(array, wanted.dtype)
    if wanted.extension is None and answer.affine_ras is None and array.dtype == np.uint8:
        from PIL import Image

        path = stem.with_name(f"{stem.name}.png")
        with replacing(path) as temporary:
            Image.fromarray(array).save(temporary, format="PNG")
        return path
    extension = wanted.extension or ".nii.gz"
    path = stem.with_name(f"{stem.name}{extension}")
    if extension.endswith(".nrrd"):
        header = _segments(numbers or {}) if extension == ".seg.nrrd" else {}
        write_nrrd(array, answer.affine_ras, path, wanted.compress, header)
    else:
        write_nifti(array, np.eye(4) if answer.affine_ras is None else answer.affine_ras, path)
    return path


def _as_type(array: npt.NDArray[Any], dtype: str) -> npt.NDArray[Any]:
    found = array.astype(dtype)
    if not np.array_equal(found, array):
        raise ConfigError("result_dtype", f"{dtype} does not hold {int(array.max())}.", "Ask for uint16.")
    return found


def _segments(numbers: Mapping[str, int]) -> dict[str, str]:
    """Return the header of a label map's segments, as 3D Slicer reads it."""
    found: dict[str, str] = {}
    for at, (name, number) in enumerate(numbers.items()):
        found |= {f"Segment{at}_ID": name, f"Segment{at}_Name": name}
        found |= {f"Segment{at}_LabelValue": str(number), f"Segment{at}_Layer": "0"}
    return found
