"""Chest CT scans, checked and reoriented."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ctan_monai.data.cases.case import check_case_id
from ctan_monai.data.cases.grid import reoriented
from ctan_monai.data.formats.metaimage import MHA_SUFFIX, read_mha
from ctan_monai.data.formats.nifti import NIFTI_SUFFIXES, load_nifti
from ctan_monai.errors import DataError

SCAN_SUFFIXES = (MHA_SUFFIX, *NIFTI_SUFFIXES)
AXCODES = "PLS"  # rows run to the back, columns to the left, slices to the head: slices look as radiologists expect
AIR_HU, METAL_HU = -1024, 3071  # what a scanner stores in 12 bits; STOIC pads with less
SLICES_AT_ONCE = 32
_VOXELS_MAX = 2**29  # 512 x 512 x 2048; a gigabyte
_SMALLEST = (32, 32, 4)
_SPACING_MM = (0.1, 30.0)
_NO_AIR_HU = -300  # a chest has lungs, and air around it
_LONGEST_NAME = 64

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Scan:
    """A CT.

    Args:
        hu: (rows, columns, slices) int16, from -1024 to 3071; perhaps a view with strides of any sign.
        affine_ras: (4, 4) index -> mm.
        about: entries of the file's header.
        sha256: of the voxels, as hex: the same for a file that was compressed, converted or turned without loss.
    """

    hu: npt.NDArray[np.int16]
    affine_ras: npt.NDArray[np.float64]
    about: Mapping[str, str]
    sha256: str

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance of neighboring voxels along rows, columns and slices."""
        row, column, between = np.linalg.norm(self.affine_ras[:3, :3], axis=0).tolist()
        return row, column, between


def scan_name(path: str | Path) -> str:
    """Return the case id of a CT: its file's stem, made valid for file names.

    >>> scan_name("chest (1).nii.gz")
    'chest__1_'
    """
    name = Path(path).name
    ending = next((suffix for suffix in SCAN_SUFFIXES if name.lower().endswith(suffix)), "")
    name = name[: len(name) - len(ending)]
    return check_case_id(re.sub(r"[^A-Za-z0-9._-]", "_", name)[:_LONGEST_NAME])


def read_scan(path: str | Path) -> Scan:
    """Read a CT in HU.

    Takes about twice the memory of the voxels as they are stored: 0.6 GB for 600 slices of 512 x 512 in int16.

    Args:
        path: a ``.mha``, ``.nii`` or ``.nii.gz`` file of three axes.

    Raises:
        DataError: the file is missing or damaged, has other axes, too few or too many voxels, a value that is no
            number, or nothing as dark as air.
    """
    path = Path(path)
    case = scan_name(path)
    about: dict[str, str] = {}
    if path.name.lower().endswith(MHA_SUFFIX):
        values, affine_ras, about = read_mha(path, case, _VOXELS_MAX)
    else:
        values, affine_ras = load_nifti(path, case)
    return scan_of(path, case, values, affine_ras, about)


def scan_of(path: Path, case: str, values: Array, affine_ras: Array, about: Mapping[str, str]) -> Scan:
    """Check a CT and reorient it.

    Args:
        path: where it is from, for errors.
        case: its id, for errors.
        values: (*S) HU, in any order of axes.
        affine_ras: (4, 4) index -> mm.
        about: entries of the file's header.

    Raises:
        DataError: as `read_scan`.
    """
    _check_grid(path, case, values.shape, affine_ras)
    stored = _as_hu(path, case, values)
    del values
    hu, affine_ras = reoriented(stored, affine_ras, AXCODES)
    digest = hashlib.sha256(repr(hu.shape).encode())
    for part in chunks(hu.shape[2]):
        digest.update(hu[..., part].T.tobytes())
    return Scan(hu, affine_ras, about, digest.hexdigest())


def chunks(slices: int) -> Iterator[slice]:
    """Yield ranges of slices to process one after another."""
    for start in range(0, slices, SLICES_AT_ONCE):
        yield slice(start, min(start + SLICES_AT_ONCE, slices))


def _check_grid(path: Path, case: str, shape: tuple[int, ...], affine_ras: Array) -> None:
    lengths_mm = np.linalg.norm(affine_ras[:3, :3], axis=0)
    low, high = _SPACING_MM
    volume = abs(float(np.linalg.det(affine_ras[:3, :3])))
    within = np.isfinite(affine_ras).all() and low <= lengths_mm.min() and lengths_mm.max() <= high
    if not within or volume < 0.5 * float(lengths_mm.prod()):
        reason = f"its voxels measure {np.round(lengths_mm, 3).tolist()} mm; expected {low:g} to {high:g} mm, upright."
        raise DataError(path, case, reason, "Convert the CT again, for example with dcm2niix.")
    if np.prod(shape, dtype=np.float64) > _VOXELS_MAX or any(
        side < least for side, least in zip(sorted(shape), sorted(_SMALLEST), strict=True)
    ):
        reason = f"its shape is {shape}, expected slices of at least 32 x 32, 4 of them, and {_VOXELS_MAX} voxels."
        raise DataError(path, case, reason, "Give a CT of the whole chest.")


def _as_hu(path: Path, case: str, values: Array) -> npt.NDArray[np.int16]:
    """Round and clip to int16 HU, a few slices at a time.

    Raises:
        DataError: a value is no number, or no value is as low as air.
    """
    if values.dtype.kind not in "iuf":
        raise DataError(path, case, f"it holds {values.dtype}, expected numbers in HU.", "Convert the CT again.")
    hu = np.empty(values.shape[::-1], np.int16).T  # slices, the last axis, in one piece each
    lowest, highest = np.inf, -np.inf
    for part in chunks(values.shape[2]):
        found = values[..., part]
        if not np.isfinite(found).all():
            raise DataError(path, case, "some voxels are NaN or infinite.", "Convert the CT again.")
        lowest, highest = min(lowest, float(found.min())), max(highest, float(found.max()))
        rounded = np.rint(found) if found.dtype.kind == "f" else found
        hu[..., part] = np.clip(rounded, AIR_HU, METAL_HU)
    if lowest > _NO_AIR_HU or lowest == highest:
        reason = f"its values run from {lowest:g} to {highest:g}; in HU, air and lungs are below {_NO_AIR_HU}."
        raise DataError(path, case, reason, "Store it in HU: subtract 1024 if air is 0.")
    return hu
