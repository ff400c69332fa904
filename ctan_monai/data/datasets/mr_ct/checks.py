"""Whether an MR, a CT and masks can be what they are called, and of one patient in one frame."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ctan_monai.data.cases.body import TISSUE_HU
from ctan_monai.data.cases.file_grid import Grid
from ctan_monai.data.formats.nifti import NIFTI_SUFFIXES, nifti_subject
from ctan_monai.errors import DataError

_CONTRAST = 0.05  # between the 0.5th and the 99.5th percentile of an MR, relative to the larger one
_NEGATIVE = 0.01  # fraction of an MR's voxels that may be below 0, as after interpolation
_SOFT_HU = (-150.0, 300.0)  # where the median of a body lies: between fat and bone
_SPAN_HU = 300.0  # a CT of a body has more, from fat to bone
_COVERED = 0.5  # fraction of the MR that the CT has to cover
_BOTH = 0.6  # fraction of the body in the MR that is tissue in the CT
_SAME_LESION = 0.5  # Dice of a lesion drawn on the MR with the same drawn on the CT
_TOLD = {"PatientID": "patient", "PatientName": "patient", "FrameOfReferenceUID": "frame of reference"}  # by dcm2niix

Array = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]


def check_finite(path: Path, patient: str, values: Array) -> Array:
    """Return a volume's values, of which each must be a number.

    Raises:
        DataError: one is not, or they are of another kind.
    """
    wrong = values.size if values.dtype.kind not in "iufb" else int((~np.isfinite(values)).sum())
    if wrong:
        raise DataError(path, patient, f"{wrong} of {values.size} voxels are no numbers.", "Convert the image again.")
    return values


def check_mr(path: Path, patient: str, mr: Array) -> None:
    """Refuse an MR that shows nothing, or is none.

    Raises:
        DataError: it is nearly constant, or has values below 0.
    """
    low, high = (float(value) for value in np.percentile(mr, (0.5, 99.5)))
    if high - low <= _CONTRAST * max(abs(low), abs(high)):
        reason = f"the MR is nearly constant: 99 % of its voxels lie from {low:g} to {high:g}."
        raise DataError(path, patient, reason, "Give the image, not a mask or a map of the coils.")
    negative = float((mr < 0).mean())
    if negative > _NEGATIVE:
        reason = f"{negative:.0%} of the MR's voxels are below 0, from {float(mr.min()):g}; signals of MR are not."
        raise DataError(path, patient, reason, "Give the MR as the scanner made it: no CT, nothing normalized.")


def check_hu(path: Path, patient: str, span: tuple[float, float], ct: Array, body: Mask | None) -> Mask:
    """Return the body in a CT, which must be in HU.

    Args:
        path: of the CT.
        patient: whose it is.
        span: lowest and highest value of the file.
        ct: where the MR is.
        body: in that.

    Raises:
        DataError: there is no body, or its values are not those of tissue in HU.
    """
    low, high = span
    units = f"the CT's values run from {low:g} to {high:g}"
    remedy = "Give the CT in HU: apply the rescale slope and intercept of its DICOM."
    if high - low < _SPAN_HU or low >= 0:
        raise DataError(path, patient, f"{units}; it is not in HU, where air is -1000 and bone above 300.", remedy)
    if body is None:
        reason = f"there is no body in the CT where the MR is: nothing connected is above {TISSUE_HU:g} HU."
        raise DataError(path, patient, reason, "Give the CT of this patient.")
    middle = float(np.median(ct[body]))
    if not _SOFT_HU[0] <= middle <= _SOFT_HU[1]:
        reason = f"{units}; half of the body is above {middle:g}, where soft tissue has -100 to 100 HU."
        raise DataError(path, patient, reason, remedy)
    return body


def check_told(patient: str, mr: Path, ct: Path) -> None:
    """Refuse files that say themselves that they are of different patients or frames of reference.

    NIfTI says little: its ``db_name``, where a converter keeps the patient, and the JSON that dcm2niix writes beside
    it. What differs is not repeated, as it may identify somebody.

    Raises:
        DataError: they do.
    """
    first, second = _told_by(mr), _told_by(ct)
    for key in first.keys() & second.keys():
        if first[key] != second[key]:
            what = _TOLD.get(key, "patient")
            reason = f"{mr.name} and {ct.name} say that they are of another {what} each ({key})."
            raise DataError(mr.parent, patient, reason, "Put the files of one patient, registered, into a folder.")


def _told_by(path: Path) -> Mapping[str, str]:
    name = nifti_subject(path)
    found = {"db_name": name} if name else {}
    stem = next(path.name[: -len(end)] for end in NIFTI_SUFFIXES if path.name.lower().endswith(end))
    beside = path.with_name(f"{stem}.json")
    if beside.is_file():
        try:
            content = json.loads(beside.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DataError(beside, None, f"it cannot be read ({error}).", "Convert again, or remove it.") from error
        if isinstance(content, dict):
            found |= {key: str(content[key]) for key in _TOLD if content.get(key)}
    return found


def check_meeting(path: Path, patient: str, grid: Grid, mr: Grid) -> None:
    """Refuse a volume that does not lie where the MR does.

    Raises:
        DataError: it covers less than half of the MR.
    """
    share = mr.share_inside(grid)
    if share < _COVERED:
        reason = f"it covers {share:.0%} of the MR's volume: they are of different patients, or in different frames."
        raise DataError(path, patient, reason, "Register it to the MR first, or give the file of this patient.")


def check_bodies(folder: Path, patient: str, in_mr: Mask, tissue: Mask) -> None:
    """Refuse an MR and a CT that show bodies in different places.

    Raises:
        DataError: less than 60 % of the body in the MR is tissue in the CT.
    """
    share = float(tissue[in_mr].mean())
    if share < _BOTH:
        reason = f"{share:.0%} of the body in the MR is tissue in the CT: other patients, or not registered."
        raise DataError(folder, patient, reason, "Register the CT to the MR, or give files of one patient.")


def check_lesion(folder: Path, patient: str, on_mr: Mask, on_ct: Mask) -> None:
    """Refuse a lesion that lies elsewhere on the CT than on the MR.

    Raises:
        DataError: its two masks agree by a Dice of less than 0.5.
    """
    both = int(on_mr.sum()) + int(on_ct.sum())
    dice = 2 * int((on_mr & on_ct).sum()) / both if both else 1.0
    if dice < _SAME_LESION:
        reason = f"the mask on the MR and that on the CT agree by a Dice of {dice:.2f}: another patient or frame."
        raise DataError(folder, patient, reason, "Register MR and CT, or leave the mask that is wrong out.")
