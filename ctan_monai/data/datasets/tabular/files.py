"""Read the files of a case: volumes with their grid, images with their pixels as stored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ctan_monai.data.cases.case import Case
from ctan_monai.data.cases.file_grid import Grid
from ctan_monai.data.cases.grid import reorient
from ctan_monai.data.dicom.read.reading import check_whole, numbers_of, read_dicom, reading
from ctan_monai.data.formats.image_masks import read_gray
from ctan_monai.data.formats.images import IMAGE_FILE_SUFFIXES
from ctan_monai.data.formats.itk_volume import NRRD_SUFFIX, read_by_itk, read_nrrd_volume
from ctan_monai.data.formats.metaimage import MHA_SUFFIX, MHD_SUFFIX, read_mha, voxels_of
from ctan_monai.data.formats.nifti import NIFTI_SUFFIXES, is_nifti, load_nifti
from ctan_monai.errors import DataError

Array = npt.NDArray[Any]
Affine = npt.NDArray[np.float64]

VOLUME_SUFFIXES = (*NIFTI_SUFFIXES, MHA_SUFFIX, MHD_SUFFIX, NRRD_SUFFIX)
IMAGE_SUFFIXES = (*VOLUME_SUFFIXES, *IMAGE_FILE_SUFFIXES)
_VOXELS_MAX = 2**30
_SAME = ("SeriesInstanceUID", "Rows", "Columns", "PixelSpacing", "RescaleSlope", "RescaleIntercept", "NumberOfFrames")


def is_image_file(path: Path) -> bool:
    """Tell by its name whether a file is a JPEG or PNG."""
    return path.suffix.lower() in IMAGE_FILE_SUFFIXES


def read_volumes(
    path: Path, case: str, axes: str, channels: int = 1, notes: list[str] | None = None
) -> tuple[list[Array], Affine, Grid]:
    """Read a volume and reorient it.

    Args:
        path: NIfTI, MetaImage, NRRD, or the folder of one DICOM series.
        case: id, for the message.
        axes: where each axis shall point, such as 'RAS'.
        channels: how many volumes the file shall hold, along a fourth axis if there are several.
        notes: gets what is doubtful about the place of the voxels.

    Returns:
        The volumes (*S), of integers or real numbers, all finite; their affine (4, 4) in RAS mm; the file's own grid.

    Raises:
        DataError: it cannot be read, or is none of that.
    """
    if is_nifti(path):
        values, affine_ras = load_nifti(path, case, channels, notes)
    elif path.is_dir():
        values, affine_ras = _read_series(path, case)
    elif path.suffix.lower() == NRRD_SUFFIX:
        values, affine_ras = read_nrrd_volume(path, case, _VOXELS_MAX)
    elif path.suffix.lower() in (MHA_SUFFIX, MHD_SUFFIX):
        values, affine_ras, _ = read_mha(path, case, _VOXELS_MAX)
    else:
        raise DataError(path, case, f"a volume ends in one of {VOLUME_SUFFIXES}.", "Convert it to NIfTI.")
    if values.dtype.kind not in "iuf":
        raise DataError(path, case, f"it holds {values.dtype}, expected numbers.", "Convert it to gray values.")
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        count = int((~np.isfinite(values)).sum())
        raise DataError(path, case, f"{count} of {values.size} voxels are NaN or infinite.", "Replace them.")
    if (values.ndim == 4) != (channels > 1):
        reason = f"it holds one volume, expected {channels}: the channels of the image."
        raise DataError(path, case, reason, "Name a file for each channel, in columns called like them.")
    parts = [values] if values.ndim == 3 else [values[..., at] for at in range(channels)]
    turned = [reorient(Case(case, {"": part}, {}, affine_ras), axes) for part in parts]
    own = Grid(parts[0].shape, np.asarray(affine_ras, np.float64))
    return [each.volumes[""] for each in turned], turned[0].affine_ras, own


def parts_of(path: Path) -> list[Path]:
    """List the files that an image consists of."""
    if path.is_dir():
        return sorted(part for part in path.glob("[!.]*") if part.is_file())
    try:
        return [path, voxels_of(path)] if path.suffix.lower() == MHD_SUFFIX else [path]
    except (OSError, ValueError, KeyError):
        return [path]  # reading it will say what is wrong


def _read_series(folder: Path, case: str) -> tuple[Array, Affine]:
    """Read the slices of one DICOM series by ITK, after checking that they are evenly spaced."""
    placed, series, all_rows = [], set(), []
    for path in parts_of(folder):
        with reading(path, "an image of the series"):
            dataset = read_dicom(path)
            check_whole(path, dataset)
            turn = np.array(numbers_of(path, dataset, "ImageOrientationPatient", 6)).reshape(2, 3)
            position = np.array(numbers_of(path, dataset, "ImagePositionPatient", 3))
            placed.append((float(np.cross(*turn) @ position), path))
            all_rows.append(np.concatenate([turn.ravel(), turn @ position]))
            series.add(tuple(str(dataset.get(name)) for name in _SAME))
    remedy = "Give a folder with the slices of one series, or convert it with dcm2niix."
    if len(series) != 1 or len(placed) < 2:
        reason = f"its {len(placed)} files differ in {', '.join(_SAME)}." if placed else "there is no file in it."
        raise DataError(folder, case, reason, remedy)
    placed.sort()
    steps_mm, rows = np.diff([at for at, _ in placed]), np.array(all_rows)
    if np.ptp(rows, axis=0).max() > 0.01 or steps_mm.min() <= 0 or np.ptp(steps_mm) > 0.01 * steps_mm.mean():
        reason = f"its slices are {steps_mm.min():.3f} to {steps_mm.max():.3f} mm apart, or shifted or turned."
        raise DataError(folder, case, reason, remedy)
    return read_by_itk([path for _, path in placed], case)


def read_values(path: Path, case: str) -> npt.NDArray[np.float32]:
    """Read a map of values beside an image: a gray PNG, whose numbers count as they are, or a NumPy file.

    Returns:
        (H, W) float32.

    Raises:
        DataError: it cannot be read, has other axes, or a value is not finite.
    """
    if path.suffix.lower() == ".png":
        return read_gray(path, case, numbers=True).astype(np.float32)
    if path.suffix.lower() != ".npy":
        reason = "values beside an image are a gray PNG or NumPy's .npy."
        raise DataError(path, case, reason, "Convert it; JPEG would change the values.")
    try:
        values = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(path, case, f"it cannot be read as NumPy's format ({error}).", "Save it again.") from error
    if values.ndim != 2 or values.dtype.kind not in "iuf" or not np.isfinite(values).all():
        raise DataError(path, case, f"it holds {values.dtype} {values.shape}.", "Store rows and columns of numbers.")
    return np.asarray(values, np.float32)
