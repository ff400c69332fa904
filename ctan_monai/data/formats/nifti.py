"""Read CT from NIfTI for inference, and write results as NIfTI."""

from __future__ import annotations

import gzip
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ctan_monai.data.cases.case import Case, check_case_id
from ctan_monai.data.cases.grid import corner_distance_mm
from ctan_monai.errors import DataError
from ctan_monai.files.atomic import replacing

_logger = logging.getLogger(__name__)

NIFTI_SUFFIXES = (".nii.gz", ".nii")
_VOXELS_MAX = 2**30  # 512 x 512 x 4096; more is a damaged header, and would ask for gigabytes
_SPACING_MM = (1e-3, 1e3)  # from microscopes to far beyond scouts
_HU = np.iinfo(np.int16)
_GZIP = b"\x1f\x8b"
_HEADER_BYTES = 540  # of NIfTI-2; NIfTI-1 has 348
_APART = 0.5  # of a voxel, in which sform and qform may differ: headers are rounded
_ROUNDING = 1e-4  # of the largest number in an affine: a qform is stored in single precision
_CONVERT = "Convert the image again, for example with dcm2niix."


def read_nifti_case(path: str | Path, modality: str = "CT") -> Case:
    """Read a CT or MR.

    Args:
        path: a ``.nii`` or ``.nii.gz`` file of three axes, a CT in HU; its name is the case's id.
        modality: 'CT' or 'MR'.

    Returns:
        A case with the volume ct (*S), int16 HU, rounded where the file holds fractions, or mr, float32.

    Raises:
        DataError: the file is missing, damaged, not three-dimensional or too large, a value is NaN, infinite or
            beyond int16, or all are the same.
    """
    path = Path(path)
    case = check_case_id(_stem(path))
    stored, affine_ras = load_nifti(path, case)
    if stored.dtype.kind not in "iuf":
        unit = " in HU" if modality == "CT" else ""
        raise DataError(path, case, f"it holds {stored.dtype}, expected numbers{unit}.", _CONVERT)
    if not np.isfinite(stored).all():
        count = int((~np.isfinite(stored)).sum())
        raise DataError(path, case, f"{count} of {stored.size} voxels are NaN or infinite.", _CONVERT)
    low, high = float(stored.min()), float(stored.max())
    if modality == "CT" and (low < _HU.min or high > _HU.max):
        found = f"its values run from {low:g} to {high:g}, HU fit into {_HU.min} to {_HU.max}."
        raise DataError(path, case, found, _CONVERT)
    if low == high:
        raise DataError(path, case, f"each of its voxels is {low:g}.", "Give an image that shows something.")
    if modality == "MR":
        return Case(case, {"mr": np.ascontiguousarray(stored, dtype=np.float32)}, {}, affine_ras)
    if low >= 0:
        _logger.warning("%s: no value lies below 0 HU (%g to %g); is this a CT in HU?", path, low, high)
    ct_hu = stored if stored.dtype.kind in "iu" else np.rint(stored)
    return Case(case, {"ct": np.ascontiguousarray(ct_hu, dtype=np.int16)}, {}, affine_ras)


def write_nifti(array: npt.NDArray[Any], affine_ras: npt.NDArray[np.float64], path: str | Path) -> None:
    """Write an array as NIfTI, atomically.

    sform and qform say the same; a sheared grid, which a qform cannot tell, has the sform alone.

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
    if corner_distance_mm(affine_ras, image.header.get_qform(), values.shape) > _ROUNDING * np.abs(affine_ras).max():
        image.set_qform(None, code="unknown")  # it cannot tell a shear: readers shall follow the sform
    with replacing(path) as temporary:
        nib.save(image, temporary)


def is_nifti(path: Path) -> bool:
    """Tell by its name, in any case, whether a file is NIfTI."""
    return path.name.lower().endswith(NIFTI_SUFFIXES)


def _stem(path: Path) -> str:
    for suffix in NIFTI_SUFFIXES:
        if path.name.lower().endswith(suffix):
            return path.name[: -len(suffix)]
    raise DataError(path, None, f"the name does not end with one of {NIFTI_SUFFIXES}.", "Give a NIfTI file.")


def load_nifti(
    path: str | Path, case: str | None, channels: int = 1, notes: list[str] | None = None
) -> tuple[npt.NDArray[Any], npt.NDArray[np.float64]]:
    """Read a volume of any kind.

    What the file holds counts, not whether its name says that it is compressed. Where sform and qform differ, the sform
    is followed.

    Args:
        path: a ``.nii`` or ``.nii.gz`` file.
        case: id, for the message.
        channels: more than 1 accepts a fourth axis of that many channels too.
        notes: gets what is doubtful about the place of the voxels; None: the log warns.

    Returns:
        (*S) or (*S, channels) values, scaled as the header says, and the affine (4, 4) in RAS mm.

    Raises:
        DataError: the file is missing or damaged, or has other axes or too many voxels.
    """
    path = Path(path)
    try:
        with _opened(path) as stream:
            image, shape = _image_in(stream, path, case, channels)
            values = np.asanyarray(image.dataobj).reshape(shape, order="F")
        for note in _doubts(image):
            if notes is None:
                _logger.warning("%s: %s", path, note)
            else:
                notes.append(f"{path.name}: {note}")
        return values, np.asarray(image.affine, np.float64)
    except DataError:
        raise
    except Exception as error:  # a damaged header can make nibabel raise almost anything
        if isinstance(error, OSError) and error.strerror:  # the system's own, not of what the file holds
            raise DataError(
                path, case, f"it cannot be read ({error.strerror}).", "Check its path and rights."
            ) from error
        raise DataError(path, case, f"it cannot be read as NIfTI ({error}).", _CONVERT) from error


def nifti_grid(path: Path) -> tuple[tuple[int, ...], npt.NDArray[np.float64]]:
    """Read shape and affine of a volume without its values."""
    with _opened(path) as stream:
        header, _ = _header_in(stream)
        return tuple(header.get_data_shape()[:3]), np.asarray(header.get_best_affine(), np.float64)


def nifti_subject(path: Path) -> str:
    """Return what a file that `load_nifti` can read calls its subject in the header (``db_name``), '' if nothing."""
    with _opened(path) as stream:
        header, _ = _header_in(stream)
    return bytes(header.get("db_name", b"")).rstrip(b"\0 ").decode("latin-1")  # NIfTI-2 has none


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open a file, decompressing gzip."""
    with path.open("rb") as file:
        packed = file.read(len(_GZIP)) == _GZIP
        file.seek(0)
        if not packed:
            yield file
            return
        with gzip.open(file) as inflated:
            yield inflated


def _header_in(stream: Any) -> tuple[Any, bytes]:
    """Read the header of a file, and return it with the bytes read."""
    import nibabel as nib

    start = stream.read(_HEADER_BYTES)
    for kind in (nib.Nifti1Header, nib.Nifti2Header):
        block, size = start[: kind.sizeof_hdr], kind.sizeof_hdr
        if size in (int.from_bytes(start[:4], "little"), int.from_bytes(start[:4], "big")) and len(block) == size:
            stored = kind(block, check=False)
            if bytes(stored["magic"])[:3] != kind.single_magic[:3]:
                raise ValueError("its header is that of Analyze, or of a pair of .hdr and .img")
            steps = stored["pixdim"][1:4]  # nibabel makes 1 mm of 0, and says nothing
            if stored["sform_code"] <= 0 and not ((steps > 0) & np.isfinite(steps)).all():
                raise ValueError(f"its voxels measure {' x '.join(f'{step:g}' for step in steps)} mm")
            return kind(block), start
    raise ValueError("it does not begin with a header of NIfTI" if start else "it is empty")


def _image_in(stream: Any, path: Path, case: str | None, channels: int) -> tuple[Any, tuple[int, ...]]:
    """Read an image, checking the length of the file and gzip's checksum.

    nibabel reads what it needs and looks neither at what follows nor at gzip's checksum, which stands at the end.

    Returns:
        The image, and its shape without axes of length 1 behind the third, as FSL, SPM and ITK write them.
    """
    import nibabel as nib

    header, start = _header_in(stream)
    stored = tuple(int(side) for side in header.get_data_shape())
    extra = [side for side in stored[3:] if side != 1]
    axes_fit = len(stored) >= 3 and (not extra or (channels > 1 and extra == [channels]))
    if not axes_fit or not 0 < np.prod(stored, dtype=np.float64) <= _VOXELS_MAX:
        found = f"its shape is {stored}, expected three axes and at most {_VOXELS_MAX} voxels."
        raise DataError(path, case, found, "Give one volume.")
    units = header.get_xyzt_units()[0]
    if units not in ("mm", "unknown"):
        raise DataError(path, case, f"its unit of length is {units}, expected mm.", _CONVERT)
    affine_ras = np.asarray(header.get_best_affine(), np.float64)
    if not _is_possible(affine_ras):
        raise DataError(path, case, f"its affine is {affine_ras.tolist()}.", _CONVERT)
    expected = int(header.get_data_offset()) + int(np.prod(stored)) * int(header.get_data_dtype().itemsize)
    content = start + stream.read(max(expected + 1 - len(start), 0))  # reaches the end, where the checksum is
    if len(content) != expected:
        found = str(len(content)) if len(content) < expected else f"more than {expected}"
        raise ValueError(f"it has {found} bytes, its header says {expected}")
    kind = nib.Nifti2Image if isinstance(header, nib.Nifti2Header) else nib.Nifti1Image
    return kind.from_bytes(content), (*stored[:3], *extra)


def _doubts(image: Any) -> Iterator[str]:
    """Return why the affine is doubtful."""
    header, affine_ras = image.header, np.asarray(image.affine, np.float64)
    sform, qform = int(header["sform_code"]), int(header["qform_code"])
    if not (sform > 0 or qform > 0):
        yield "it does not say how the patient lies; left and right may be exchanged"
    if not (sform > 0 and qform > 0):
        return
    try:
        other = np.asarray(header.get_qform(), np.float64)
    except Exception:  # nibabel's HeaderDataError is an Exception like many
        yield "its qform cannot be read; the sform is followed, some viewers follow the qform"
        return
    apart_mm = corner_distance_mm(affine_ras, other, image.shape[:3])
    if apart_mm > _APART * np.linalg.norm(affine_ras[:3, :3], axis=0).min():
        mirrored = np.linalg.det(affine_ras[:3, :3]) * np.linalg.det(other[:3, :3]) < 0
        sides = ", one of them mirrored" if mirrored else ""
        yield (
            f"its sform (code {sform}) and its qform (code {qform}) put voxels up to {apart_mm:.1f} mm apart{sides}; "
            "the sform is followed, some viewers follow the qform"
        )


def _is_possible(affine_ras: npt.NDArray[np.float64]) -> bool:
    """Tell whether an affine is plausible for a scanner's voxels, and not singular."""
    if not np.isfinite(affine_ras).all():
        return False
    lengths_mm = np.linalg.norm(affine_ras[:3, :3], axis=0)
    volume_mm3 = abs(float(np.linalg.det(affine_ras[:3, :3])))
    within = _SPACING_MM[0] <= lengths_mm.min() and lengths_mm.max() <= _SPACING_MM[1]
    return bool(within) and volume_mm3 > 1e-6 * float(lengths_mm.prod())
