"""Dose-volume histograms and the metrics that are read from them.

Every function takes a dose in Gy and a mask of one structure on the same grid, of any shape, and treats voxels as the
smallest unit of volume: none is split or interpolated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctan_monai.errors import DataError

Doses = NDArray[np.float64]
MM3_PER_CC = 1000.0


def doses_inside(dose_gy: NDArray[Any], mask: NDArray[Any]) -> Doses:
    """Return the dose in every voxel of a structure, (n,) in double precision.

    Raises:
        DataError: the shapes differ, or the mask is empty.
    """
    if dose_gy.shape != mask.shape:
        raise DataError(
            "structure mask",
            None,
            f"its shape is {mask.shape}, the dose's {dose_gy.shape}.",
            "Resample both to one grid.",
        )
    inside: Doses = np.asarray(dose_gy, dtype=np.float64)[np.asarray(mask, dtype=bool)]
    if not inside.size:
        raise DataError("structure mask", None, "it is empty.", "Leave a structure out that the case does not have.")
    return inside


@dataclass(frozen=True)
class DvhCurve:
    """A cumulative DVH: the volume that receives a dose or more.

    Args:
        dose_gy: (n,) rising doses, Gy.
        volume_percent: (n,) volume that receives at least that dose, % of the structure; falls from 100.
        volume_cc: (n,) the same in cubic centimeters.
    """

    dose_gy: Doses
    volume_percent: Doses
    volume_cc: Doses


def dvh_curve(
    dose_gy: NDArray[Any], mask: NDArray[Any], voxel_mm3: float, bins: int | Sequence[float] = 1000
) -> DvhCurve:
    """Compute a cumulative DVH.

    Args:
        dose_gy: (*S) dose, Gy.
        mask: (*S) the structure.
        voxel_mm3: volume of a voxel, mm3.
        bins: the doses at which the volume is wanted, rising; or how many steps to take from 0 to the highest dose.

    Returns:
        The curve at those doses (bins + 1 of them if a number was given). Its area from 0 is the mean dose.

    Raises:
        DataError: the shapes differ, or the mask is empty.
    """
    inside = np.sort(doses_inside(dose_gy, mask))
    edges = np.linspace(0.0, inside[-1], bins + 1) if isinstance(bins, int) else np.asarray(bins, dtype=np.float64)
    below = np.searchsorted(inside, edges, side="left")
    reached = (inside.size - below).astype(np.float64)  # voxels with at least that dose
    return DvhCurve(edges, 100.0 * reached / inside.size, reached * (voxel_mm3 / MM3_PER_CC))


def dose_at_percent(inside: Doses, percent: float) -> float:
    """Return D_x%: the dose that the hottest x percent of the volume receive at least, Gy.

    Args:
        inside: (n,) doses of the structure's voxels.
        percent: x; the percentile 100 - x, interpolated between voxels as `numpy.percentile` does.
    """
    return float(np.percentile(inside, 100.0 - percent))


def dose_at_cc(inside: Doses, volume_cc: float, voxel_mm3: float) -> float:
    """Return D_x cc: the dose that the hottest x cubic centimeters receive at least, Gy.

    The volume is rounded to whole voxels, at least one. In a structure smaller than that volume it is the lowest
    dose, which is also what the formula gives for a structure of exactly that volume.

    Args:
        inside: (n,) doses of the structure's voxels.
        volume_cc: x.
        voxel_mm3: volume of a voxel, mm3.
    """
    voxels = np.maximum(1.0, np.round(volume_cc * MM3_PER_CC / voxel_mm3))
    return float(np.percentile(inside, max(0.0, 100.0 - voxels / inside.size * 100.0)))


def percent_at_dose(inside: Doses, dose_gy: float) -> float:
    """Return V_x Gy: the fraction of the volume that receives x Gy or more, %."""
    return float(100.0 * np.mean(inside >= dose_gy))


def cc_at_dose(inside: Doses, dose_gy: float, voxel_mm3: float) -> float:
    """Return V_x Gy: the volume that receives x Gy or more, cc."""
    return float(np.count_nonzero(inside >= dose_gy) * voxel_mm3 / MM3_PER_CC)
