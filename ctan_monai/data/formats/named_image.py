"""Images given by path or as an array, as a cached case with the grid of the file."""

from __future__ import annotations

import contextlib
import hashlib
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ctan_monai.data.cases.cache import read_header
from ctan_monai.data.cases.case import is_case_id
from ctan_monai.data.cases.file_grid import native_grid_of
from ctan_monai.data.formats.ct_source import read_source, source_path
from ctan_monai.data.formats.metaimage import MHA_SUFFIX, read_mha
from ctan_monai.data.formats.nifti import NIFTI_SUFFIXES, write_nifti
from ctan_monai.errors import DataError

Array = npt.NDArray[Any]
_VOXELS_MAX = 2**30
_LONGEST_NAME = 64
Listing = Callable[[str], Sequence[Mapping[str, Any]]]


@dataclass(frozen=True, eq=False)
class NamedImage:
    """One image that was read into the cache.

    Args:
        case: id.
        file: the cached case.
        path: what was read; of an array, nothing that is still there.
        shape: of the file's own grid; (columns, rows) of an image, as MONAI reads one.
        affine_ras: (4, 4) own voxel index -> mm; None for an image.
    """

    case: str
    file: Path
    path: Path
    shape: tuple[int, ...]
    affine_ras: npt.NDArray[np.float64] | None


def read_named(image: Any, listing: Listing) -> NamedImage:
    """Read one image into the cache.

    Args:
        image: path of a file or of a DICOM series' folder; or a volume as an array with an affine (MONAI's MetaTensor),
            with or without a channel in front.
        listing: from a path to items of a datalist; the bundle's own function.

    Raises:
        DataError: it is neither, there is not exactly one image, or it cannot be read.
    """
    with _as_path(image) as path:
        items = list(listing(str(path)))
        if len(items) != 1:
            raise DataError(path, None, f"it holds {len(items)} images, expected one.", "Give them one by one.")
        case, file = str(items[0]["case"]), Path(items[0]["file"])
        return NamedImage(case, file, path, *_native_grid(path, file, case))


def _native_grid(path: Path, file: Path, case: str) -> tuple[tuple[int, ...], npt.NDArray[np.float64] | None]:
    header = read_header(file)
    if (full := header.meta.get("full_shape")) is not None:  # rows and columns of an image
        return (int(full[1]), int(full[0])), None
    if (own := native_grid_of(header.meta)) is not None:
        return own.shape, own.affine_ras
    if source_path(file).is_file():
        source = read_source(file)
        return source.shape, source.affine_ras
    if path.name.lower().endswith(NIFTI_SUFFIXES):
        import nibabel as nib

        volume = nib.load(path)
        return tuple(int(size) for size in volume.shape[:3]), np.asarray(volume.affine, np.float64)
    if path.name.lower().endswith(MHA_SUFFIX):
        values, affine_ras, _ = read_mha(path, case, _VOXELS_MAX)
        return tuple(values.shape), affine_ras
    return tuple(header.shape), np.asarray(header.affine_ras, np.float64)  # the file is on the network's own grid


@contextlib.contextmanager
def _as_path(image: Any) -> Iterator[Path]:
    """Yield the path of an image; of an array, or a NIfTI file whose name can be no id, that of a temporary file."""
    if isinstance(image, str | Path):
        with _fit_name(Path(image)) as path:
            yield path
        return
    affine = getattr(image, "affine", None)
    shape: tuple[int, ...] = tuple(getattr(image, "shape", ()))
    if affine is None or len(shape) not in (3, 4) or (len(shape) == 4 and 1 not in (shape[:1] + shape[-1:])):
        found = f"found a {type(image).__name__}" + (f" of shape {shape}" if len(shape) else "")
        raise DataError("image", None, f"{found}, expected a path, or a volume with its affine.", "Give the path.")
    values = torch.as_tensor(image).cpu().numpy()
    if values.ndim == 4:
        values = values[0] if values.shape[0] == 1 else values[..., 0]
    affine_ras = np.array(torch.as_tensor(affine).cpu().tolist(), np.float64)
    if str(getattr(image, "meta", {}).get("space", "RAS")) == "LPS":
        affine_ras = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine_ras
    name = hashlib.sha256(np.ascontiguousarray(values).tobytes() + affine_ras.tobytes()).hexdigest()[:32]
    with tempfile.TemporaryDirectory(prefix="ctan_image_") as folder:
        path = Path(folder) / f"image-{name}.nii.gz"
        write_nifti(values, affine_ras, path)
        yield path


@contextlib.contextmanager
def _fit_name(path: Path) -> Iterator[Path]:
    ending = next((each for each in NIFTI_SUFFIXES if path.name.endswith(each)), "")
    stem = path.name.removesuffix(ending)
    if not ending or not path.is_file() or is_case_id(stem):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="ctan_image_") as folder:
        fit = Path(folder) / (re.sub(r"[^A-Za-z0-9._-]", "_", stem)[:_LONGEST_NAME] + ending)
        shutil.copyfile(path, fit)
        yield fit
