"""Write a dose as DICOM RTDOSE."""

from __future__ import annotations

import logging
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ctan_monai.data.dicom.write.common import LONG, Written, decimal, new_object, refer_to, save_new
from ctan_monai.data.dicom.write.identity import Clock, UidSource, new_uid
from ctan_monai.data.dicom.write.planes import in_planes, straightened
from ctan_monai.data.dicom.write.reference import CtReference, Origin, shortened
from ctan_monai.errors import DataError

RT_DOSE = "1.2.840.10008.5.1.4.1.1.481.2"
RT_PLAN = "1.2.840.10008.5.1.4.1.1.481.5"
_logger = logging.getLogger(__name__)


def write_rtdose(
    dose_gy: npt.NDArray[Any],
    affine_ras: npt.NDArray[Any],
    reference: CtReference,
    path: str | Path,
    origin: Origin,
    *,
    plan_uid: str | None = None,
    bits: Literal[16, 32] = 16,
    clock: Clock = datetime.now,
    uid_source: UidSource = new_uid,
) -> Written:
    """Write a dose as RTDOSE; no file is replaced.

    The grid may be finer, coarser, larger or smaller than the CT's, but its planes and rows must be parallel to the
    CT's. On a CT with a tilted gantry the dose is resampled so that planes stand above each other, because RTDOSE
    cannot say anything else.

    Args:
        dose_gy: three axes in any order, Gy. Negative values, which networks predict, become 0.
        affine_ras: (4, 4) voxel index -> mm.
        reference: the CT.
        path: the file.
        origin: what made the dose.
        plan_uid: SOPInstanceUID of the RTPLAN that the dose belongs to. The standard requires a plan: matRad fails
            without one, and Eclipse does not import a dose whose plan it cannot find. So give the planned plan's
            UID, or write one with ``write_rtplan`` and deliver both. None leaves it out, and the log says so.
        bits: of a voxel; 16 (steps of a thousandth of a Gy) is what every program reads, and the only depth that
            dciodvfy can check.
        clock: tells the time.
        uid_source: gives UIDs.

    Returns:
        Path and UID. A dose read back differs by at most half of DoseGridScaling.

    Raises:
        DataError: the dose holds NaN or infinity, the grid does not fit the CT, the file exists or cannot be written.
    """
    _check(dose_gy)
    planes = straightened(in_planes(dose_gy, affine_ras, reference, "dose"))
    made = new_object(RT_DOSE, "RTDOSE", reference, origin, clock, uid_source)
    made.ContentDate, made.ContentTime = made.InstanceCreationDate, made.InstanceCreationTime
    made.ImageComments = origin.text
    made.DoseUnits, made.DoseType, made.DoseSummationType = "GY", "PHYSICAL", "PLAN"
    made.DoseComment = shortened(origin.statement, LONG)
    made.TissueHeterogeneityCorrection = "IMAGE"
    if plan_uid:
        made.ReferencedRTPlanSequence = [refer_to(RT_PLAN, plan_uid)]
    else:
        _logger.warning("the RTDOSE refers to no RTPLAN, which the standard requires; some programs will not read it")
    slice_mm, row_mm, column_mm = planes.spacing_mm
    count = len(planes.voxels)
    made.ImagePositionPatient = [decimal(value) for value in planes.origin_mm]
    made.ImageOrientationPatient = [decimal(value) for value in reference.axes[:2].ravel()]
    made.PixelSpacing = [decimal(row_mm), decimal(column_mm)]
    made.SliceThickness = decimal(slice_mm)
    made.NumberOfFrames = count
    made.FrameIncrementPointer = 0x3004000C
    made.GridFrameOffsetVector = [decimal(index * slice_mm) for index in range(count)]
    _set_pixels(made, planes.voxels, bits)
    return save_new(made, path)


def _check(dose_gy: npt.NDArray[Any]) -> None:
    if not np.isfinite(dose_gy).all():
        count = int((~np.isfinite(dose_gy)).sum())
        raise DataError("dose", None, f"{count} of {dose_gy.size} voxels are NaN or infinite.", "Check the network.")
    lowest = float(dose_gy.min(initial=0))
    if lowest < 0:
        count = int((dose_gy < 0).sum())
        _logger.info("%d negative voxels of the dose, down to %.3g Gy, are written as 0", count, lowest)


def _set_pixels(made: Any, dose_gy: npt.NDArray[Any], bits: Literal[16, 32]) -> None:
    """Store a dose as integers with the DoseGridScaling that uses the full bit depth."""
    levels = 2**bits - 1
    highest = float(dose_gy.max(initial=0))
    scaling = decimal(max(highest, 1e-3) / levels)  # as the file will say it, so that nothing is lost to rounding
    stored = np.empty(dose_gy.shape, f"<u{bits // 8}")
    for frame, plane_gy in zip(stored, dose_gy, strict=True):  # in double precision, which is much for all at once
        whole = np.rint(np.maximum(plane_gy, 0).astype(np.float64) / float(scaling))
        frame[...] = np.minimum(whole, levels)
    made.DoseGridScaling = scaling
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.Rows, made.Columns = (int(side) for side in dose_gy.shape[1:])
    made.BitsAllocated = made.BitsStored = bits
    made.HighBit, made.PixelRepresentation = bits - 1, 0
    made.add_new(0x7FE00010, "OW", stored.tobytes())  # of two or four bytes each, so even
