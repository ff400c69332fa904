"""Rigid spatial registrations (DICOM REG) between two frames of reference."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ctan_monai.data.dicom.read.geometry import Floats
from ctan_monai.data.dicom.read.reading import numbers_of, read_dicom, reading
from ctan_monai.errors import DataError

_ORTHONORMAL = 1e-3  # matrices are written with six digits or so


def read_registration(path: str | Path, source_frame: str, target_frame: str) -> Floats | None:
    """Read how a spatial registration object brings one frame of reference to another.

    Each of its items maps a frame to the object's own, which needs no item. Source: DICOM PS3.3 C.20.2.

    Args:
        path: a Spatial Registration.
        source_frame: FrameOfReferenceUID to come from.
        target_frame: to go to.

    Returns:
        (4, 4) from LPS mm in the source to LPS mm in the target; None if it does not relate the two.

    Raises:
        DataError: it cannot be read, or is not rigid, or consists of several matrices.
    """
    path = Path(path)
    with reading(path, "a spatial registration"):
        dataset = read_dicom(path)
        to_own = {str(dataset.get("FrameOfReferenceUID", "")): np.eye(4)}
        for item in dataset.get("RegistrationSequence") or []:
            frame = str(item.get("FrameOfReferenceUID", "") or "")
            if frame in (source_frame, target_frame):
                to_own[frame] = _matrix(path, item)
    if source_frame not in to_own or target_frame not in to_own:
        return None
    return np.asarray(np.linalg.solve(to_own[target_frame], to_own[source_frame]))


def _matrix(path: Path, item: Any) -> Floats:
    matrices = [
        matrix
        for registration in item.get("MatrixRegistrationSequence") or []
        for matrix in registration.get("MatrixSequence") or []
    ]
    remedy = "Export a rigid registration as one matrix, or resample the CT to the MR."
    if len(matrices) != 1:
        raise DataError(path, None, f"a registration has {len(matrices)} matrices, expected one.", remedy)
    kind = str(matrices[0].get("FrameOfReferenceTransformationMatrixType", ""))
    values = numbers_of(path, matrices[0], "FrameOfReferenceTransformationMatrix", 16)
    found = np.array(values).reshape(4, 4)
    turn = found[:3, :3]
    rigid = np.abs(turn @ turn.T - np.eye(3)).max() < _ORTHONORMAL and np.linalg.det(turn) > 0
    if not rigid or np.abs(found[3] - [0, 0, 0, 1]).max() > _ORTHONORMAL:
        raise DataError(path, None, f"the matrix of a registration ({kind or 'no type'}) is not rigid.", remedy)
    return found
