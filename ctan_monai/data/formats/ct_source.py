"""The source CT of a case for inference, to whose grid predictions are resampled.

A small JSON file beside the cached case. Unlike the case it names files and UIDs, so it stays in the cache, readable
by its owner only.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ctan_monai.data.cases.cache import CASE_SUFFIX
from ctan_monai.data.formats.nifti import nifti_grid
from ctan_monai.errors import DataError
from ctan_monai.files.atomic import replace_text

_FORMAT = "ctan_monai ct source 1"
_ENDING = ".ct.json"


@dataclass(frozen=True, eq=False)
class CtSource:
    """A CT on the user's disk.

    Args:
        case: id of the case that was made of it.
        shape: of its own grid.
        affine_ras: (4, 4) own voxel index -> mm.
        files: the images, in order along the normal, if it is DICOM; the one file if it is NIfTI.
        sop_uids: UID of each image; empty if it is NIfTI.
        synthetic: no patient was imaged.
        fingerprint: of what the case was made from.
        modality: 'CT' or 'MR'.
    """

    case: str
    shape: tuple[int, int, int]
    affine_ras: npt.NDArray[np.float64]
    files: tuple[Path, ...]
    sop_uids: tuple[str, ...] = ()
    synthetic: bool = False
    fingerprint: str = ""
    modality: str = "CT"

    @property
    def dicom(self) -> bool:
        """Whether DICOM objects can refer to it."""
        return bool(self.sop_uids)

    @property
    def voxel_mm3(self) -> float:
        """Volume of a voxel."""
        return float(abs(np.linalg.det(self.affine_ras[:3, :3])))


def source_path(case_file: str | Path) -> Path:
    """Return the path of the file that describes a cached case's source."""
    path = Path(case_file)
    return path.with_name(path.name.removesuffix(CASE_SUFFIX) + _ENDING)


def write_source(source: CtSource, case_file: str | Path) -> Path:
    """Write the description of a source beside its cached case.

    Raises:
        DataError: it cannot be written.
    """
    path = source_path(case_file)
    content = {
        "format": _FORMAT,
        **asdict(source),
        "affine_ras": source.affine_ras.tolist(),
        "files": [str(file.resolve()) for file in source.files],
    }
    replace_text(path, json.dumps(content, indent=1) + "\n")
    path.chmod(0o600)
    return path


def keep_nifti_source(path: Path, case: str, case_file: str | Path, fingerprint: str, modality: str = "CT") -> None:
    """Write the description of a NIfTI source beside its cached case, unless it exists.

    Args:
        path: the file, which was read before.
        case: id.
        case_file: the cached case.
        fingerprint: of what it was made from.
        modality: 'CT' or 'MR'.

    Raises:
        DataError: it cannot be written.
    """
    with contextlib.suppress(DataError):
        if read_source(case_file).fingerprint == fingerprint:
            return
    (first, second, third), affine_ras = nifti_grid(path)
    shape = (first, second, third)
    source = CtSource(case, shape, affine_ras, (path,), fingerprint=fingerprint, modality=modality)
    write_source(source, case_file)


def read_source(case_file: str | Path) -> CtSource:
    """Read the description of a cached case's source.

    Raises:
        DataError: there is none, or it cannot be read.
    """
    path = source_path(case_file)
    remedy = "List the CTs again with dicom_inference_list."
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if content.pop("format") != _FORMAT:
            raise ValueError("it has another format")
        rows, columns, slices = (int(size) for size in content.pop("shape"))
        affine_ras = np.array(content.pop("affine_ras"), np.float64).reshape(4, 4)
        files = tuple(Path(file) for file in content.pop("files"))
        return CtSource(
            **{**content, "sop_uids": tuple(content["sop_uids"])},
            shape=(rows, columns, slices),
            affine_ras=affine_ras,
            files=files,
        )
    except FileNotFoundError as error:
        reason = "it is not known which CT this case was made of."
        raise DataError(path, None, reason, remedy) from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"the source of the case cannot be read ({type(error).__name__})."
        raise DataError(path, None, reason, remedy) from error
