"""Read and write NRRD, the format that 3D Slicer and OHIF exchange label maps in, by SimpleITK."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ctan_monai.data.formats.itk_volume import read_nrrd_header
from ctan_monai.errors import DataError

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True, eq=False)
class Nrrd:
    """Content of a NRRD file.

    Args:
        values: (*S), or (*S, layers) where overlapping segments are kept in layers.
        affine_ras: (4, 4) voxel index -> mm; None for an image.
        header: fields and key-value pairs as they stand in the file, by name.
    """

    values: npt.NDArray[Any]
    affine_ras: npt.NDArray[np.float64] | None
    header: Mapping[str, str]


def read_nrrd(path: str | Path) -> Nrrd:
    """Read a volume, an image, or segments in layers.

    Raises:
        DataError: it is missing, damaged, or has other axes.
    """
    import SimpleITK as sitk

    path = Path(path)
    header = read_nrrd_header(path)[0]
    try:
        image = sitk.ReadImage(str(path), imageIO="NrrdImageIO")
    except RuntimeError as error:
        said = str(error).strip().split("\n")[-1][:200]
        raise DataError(path, None, f"it cannot be read as NRRD ({said}).", "Save it again as .nrrd.") from error
    values = sitk.GetArrayFromImage(image)
    dims = image.GetDimension()
    if dims not in (2, 3) or (dims == 2 and values.ndim != 2):
        raise DataError(path, None, f"it has {dims} axes, expected a volume.", "Give one volume.")
    if dims == 2:
        return Nrrd(values, None, header)
    axes = (2, 1, 0, *range(3, values.ndim))
    return Nrrd(np.ascontiguousarray(values.transpose(axes)), _affine_ras(image), header)


def write_nrrd(
    array: npt.NDArray[Any],
    affine_ras: npt.NDArray[np.float64] | None,
    path: Path,
    compress: bool = False,
    header: Mapping[str, str] | None = None,
) -> None:
    """Write an array as NRRD.

    Args:
        array: (*S); an image's (rows, columns).
        affine_ras: (4, 4); None for an image, whose pixels count as 1 mm.
        path: ends with .nrrd.
        compress: by gzip.
        header: further key-value pairs.

    Raises:
        DataError: it cannot be written.
    """
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(np.ascontiguousarray(array if affine_ras is None else array.T))
    if affine_ras is not None:
        affine_lps = _LPS_TO_RAS @ affine_ras
        spacing = np.linalg.norm(affine_lps[:3, :3], axis=0)
        image.SetSpacing(spacing.tolist())
        image.SetOrigin(affine_lps[:3, 3].tolist())
        image.SetDirection((affine_lps[:3, :3] / spacing).ravel().tolist())
    for key, value in (header or {}).items():
        image.SetMetaData(key, value)
    try:
        sitk.WriteImage(image, str(path), useCompression=compress)
    except RuntimeError as error:
        raise DataError(path, None, "it cannot be written.", "See that the disk has room.") from error


def _affine_ras(image: Any) -> npt.NDArray[np.float64]:
    affine_lps = np.eye(4)
    affine_lps[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * np.array(image.GetSpacing())
    affine_lps[:3, 3] = image.GetOrigin()
    return np.asarray(_LPS_TO_RAS @ affine_lps, np.float64)
