"""Read and write NRRD, the format that 3D Slicer and OHIF exchange label maps in, by SimpleITK."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ctan_monai.errors import DataError

NRRD_SUFFIX = ".nrrd"  # .seg.nrrd ends in it too
_HEADER_BYTES = 2**20
_BYTES = {"64": 8, "long": 8, "double": 8, "32": 4, "float": 4, "16": 2, "short": 2, "8": 1, "char": 1, "int": 4}
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True, eq=False)
class Nrrd:
    """What a file holds.

    Args:
        values: (*S), or (*S, layers) where overlapping segments are kept in layers.
        affine_ras: (4, 4) voxel index -> mm; None for an image.
        header: fields and key-value pairs as they stand in the file, by name.
    """

    values: npt.NDArray[Any]
    affine_ras: npt.NDArray[np.float64] | None
    header: Mapping[str, str]


def read_header(path: Path) -> dict[str, str]:
    """Read the text that a file begins with.

    Raises:
        DataError: it is no NRRD, or its values are kept in another file, which is not read.
    """
    remedy = "Save it again as one .nrrd file."
    try:
        with path.open("rb") as file:
            start = file.read(_HEADER_BYTES)
    except OSError as error:
        raise DataError(path, None, f"it cannot be read ({error.strerror}).", remedy) from error
    text, end, _ = start.replace(b"\r\n", b"\n").partition(b"\n\n")
    if not text.startswith(b"NRRD000") or not end or b"\r" in text:
        raise DataError(path, None, "it cannot be read as NRRD (its header is cut or another).", remedy)
    lines = [line for line in text.decode("utf-8", "replace").split("\n")[1:] if not line.startswith("#")]
    header: dict[str, str] = {}
    for line in lines:
        name, found, value = line.partition(":=") if ":=" in line else line.partition(":")
        if found:
            header[name.strip()] = value.strip()
    if {name.lower().replace(" ", "") for name in header} & {"datafile"}:
        raise DataError(path, None, "its values are kept in another file.", remedy)
    return header


def unpacked_bytes(path: Path) -> int:
    """Return how much room the values of a file take, as its header says.

    Raises:
        DataError: the header is damaged.
    """
    header = read_header(path)
    sizes, kind = header.get("sizes", "").split(), header.get("type", "").lower()
    each = next((size for word, size in _BYTES.items() if word in kind), None)
    if not sizes or not all(size.isdigit() for size in sizes) or each is None:
        raise DataError(path, None, "its header does not say its size and type.", "Save it again as .nrrd.")
    return int(np.prod([int(size) for size in sizes], dtype=object)) * each


def read_nrrd(path: str | Path) -> Nrrd:
    """Read a volume, an image, or segments in layers.

    Raises:
        DataError: it is missing, damaged, or has other axes.
    """
    import SimpleITK as sitk

    path = Path(path)
    header = read_header(path)
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
    """Write an array.

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
