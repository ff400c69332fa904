"""Read a CT from a NIfTI file for inference, and write results as NIfTI."""

from __future__ import annotations

import gzip
import logging
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ctan_monai.data.atomic import replacing
from ctan_monai.data.cases import Case, check_case_id
from ctan_monai.errors import DataError

_logger = logging.getLogger(__name__)

NIFTI_SUFFIXES = (".nii.gz", ".nii")
_VOXELS_MAX = 2**30  # 512 x 512 x 4096; more is a damaged header, and would ask for gigabytes
_SPACING_MM = (1e-3, 1e3)  # from microscopes to far beyond scouts
_HU = np.iinfo(np.int16)
_CONVERT = "Convert the image again, for example with dcm2niix."


def read_nifti_case(path: str | Path) -> Case:
    """Read a CT.

    Args:
        path: a ``.nii`` or ``.nii.gz`` file of three axes, in HU; its name is the case's id.

    Returns:
        A case with the volume ct (*S), int16 HU, rounded where the file holds fractions.

    Raises:
        DataError: the file is missing, damaged, not three-dimensional or too large, a value is NaN, infinite or
            beyond int16, or all are the same.
    """
    path = Path(path)
    case = check_case_id(_stem(path))
    stored, affine_ras = load_nifti(path, case)
    if stored.dtype.kind not in "iuf":
        raise DataError(path, case, f"it holds {stored.dtype}, expected numbers in HU.", _CONVERT)
    if not np.isfinite(stored).all():
        count = int((~np.isfinite(stored)).sum())
        raise DataError(path, case, f"{count} of {stored.size} voxels are NaN or infinite.", _CONVERT)
    low, high = float(stored.min()), float(stored.max())
    if low < _HU.min or high > _HU.max:
        found = f"its values run from {low:g} to {high:g}, HU fit into {_HU.min} to {_HU.max}."
        raise DataError(path, case, found, _CONVERT)
    if low == high:
        raise DataError(path, case, f"each of its voxels is {low:g}.", "Give an image that shows something.")
    if low >= 0:
        _logger.warning("%s: no value lies below 0 HU (%g to %g); is this a CT in HU?", path, low, high)
    ct_hu = stored if stored.dtype.kind in "iu" else np.rint(stored)
    return Case(case, {"ct": np.ascontiguousarray(ct_hu, dtype=np.int16)}, {}, affine_ras)


def write_nifti(array: npt.NDArray[Any], affine_ras: npt.NDArray[np.float64], path: str | Path) -> None:
    """Write an array; a reader never meets half a file.

    Args:
        array: (*S), two or three axes; its type is kept, bool becomes uint8 (NIfTI has no bool).
        affine_ras: (4, 4) voxel index -> mm.
        path: ends with .nii or .nii.gz.

    Raises:
        DataError: the ending is another, or the file cannot be written.
    """
    import nibabel as nib

    path = Path(path)
    if not path.name.endswith(NIFTI_SUFFIXES):
        raise DataError(path, None, f"the name does not end with one of {NIFTI_SUFFIXES}.", "Name a NIfTI file.")
    values = array.astype(np.uint8) if array.dtype == np.bool_ else array
    image = nib.Nifti1Image(values, affine_ras, dtype=values.dtype)
    image.header.set_xyzt_units("mm")
    image.set_sform(affine_ras, code="scanner")
    image.set_qform(affine_ras, code="scanner")
    with replacing(path) as temporary:
        nib.save(image, temporary)


def _stem(path: Path) -> str:
    for suffix in NIFTI_SUFFIXES:
        if path.name.endswith(suffix):
            return path.name.removesuffix(suffix)
    raise DataError(path, None, f"the name does not end with one of {NIFTI_SUFFIXES}.", "Give a NIfTI file.")


def load_nifti(
    path: str | Path, case: str | None, channels: int = 1
) -> tuple[npt.NDArray[Any], npt.NDArray[np.float64]]:
    """Read a volume of any kind.

    Args:
        path: a ``.nii`` or ``.nii.gz`` file.
        case: id, for the message.
        channels: more than 1 accepts a fourth axis of that many channels too.

    Returns:
        (*S) or (*S, channels) values, scaled as the header says, and the affine (4, 4) in RAS mm.

    Raises:
        DataError: the file is missing or damaged, or has other axes or too many voxels.
    """
    import nibabel as nib

    path = Path(path)
    try:
        image = nib.load(path)
        axes_fit = len(image.shape) == 3 or (channels > 1 and image.shape[3:] == (channels,))
        if not axes_fit or not 0 < np.prod(image.shape, dtype=np.float64) <= _VOXELS_MAX:
            found = f"its shape is {image.shape}, expected three axes and at most {_VOXELS_MAX} voxels."
            raise DataError(path, case, found, "Give one volume.")
        units = image.header.get_xyzt_units()[0]
        if units not in ("mm", "unknown"):
            raise DataError(path, case, f"its unit of length is {units}, expected mm.", _CONVERT)
        if not (image.header["sform_code"] or image.header["qform_code"]):
            _logger.warning("%s does not say how the patient lies; left and right may be exchanged", path)
        values, affine_ras = np.asanyarray(_whole(path, image).dataobj), np.asarray(image.affine, np.float64)
        if not _is_possible(affine_ras):
            raise DataError(path, case, f"its affine is {affine_ras.tolist()}.", _CONVERT)
        return values, affine_ras
    except DataError:
        raise
    except Exception as error:  # a damaged header can make nibabel raise almost anything
        raise DataError(path, case, f"it cannot be read as NIfTI ({error}).", _CONVERT) from error


def _is_possible(affine_ras: npt.NDArray[np.float64]) -> bool:
    """Tell whether voxels have a size that a scanner could have made, and span a volume."""
    if not np.isfinite(affine_ras).all():
        return False
    lengths_mm = np.linalg.norm(affine_ras[:3, :3], axis=0)
    volume_mm3 = abs(float(np.linalg.det(affine_ras[:3, :3])))
    within = _SPACING_MM[0] <= lengths_mm.min() and lengths_mm.max() <= _SPACING_MM[1]
    return bool(within) and volume_mm3 > 1e-6 * float(lengths_mm.prod())


def _whole(path: Path, image: Any) -> Any:
    """Return the image from a file that is as long as its header says and, if compressed, fits its own checksum.

    nibabel reads what it needs and looks neither at what follows nor at gzip's checksum, which stands at the end.
    """
    expected = int(image.dataobj.offset) + int(np.prod(image.shape)) * int(image.dataobj.dtype.itemsize)
    if not path.name.endswith(".gz"):
        found = path.stat().st_size
        content = b""
    else:
        with gzip.open(path) as file:
            content = file.read(expected)
            found = len(content) + len(file.read(1))  # reaches the end, where the checksum is
    if found != expected:
        raise ValueError(f"it has {found} bytes, its header says {expected}")
    return type(image).from_bytes(content) if content else image
