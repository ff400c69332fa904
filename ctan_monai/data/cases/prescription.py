"""Prescribed dose of each voxel, from the targets of a case."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from ctan_monai.data.cases.case import Case
from ctan_monai.data.cases.dose_levels import dose_level
from ctan_monai.errors import DataError

PRESCRIPTION, UNIT_GY = "prescription", 100.0  # channel of an image, and what 1 means there
_TARGET = "PTV"


def prescribed_gy(case: Case, file: Path) -> npt.NDArray[np.float32]:
    """Return what is prescribed in each voxel: the highest level of the PTVs that hold it, 0 outside of them.

    A PTV whose name states a dose (`dose_level`), as PTV_5600, has that level, others the case's prescription. Where
    doses were normalized, levels are, too.

    Args:
        case: with masks.
        file: it was read from, for errors.

    Returns:
        (*S) float32, Gy.

    Raises:
        DataError: there is no PTV, or its level is not known.

    Source: AAPM TG-263 (names of targets).
    """
    targets = [name for name in case.masks if name.startswith(_TARGET)]
    if not targets:
        reason = f"the network takes what is prescribed, and the case has no {_TARGET}; it has {sorted(case.masks)}."
        raise DataError(file, case.case, reason, "Contour one, or leave the case out (required: [PTV]).")
    stated, normalized = case.meta.get("prescription_gy"), case.meta.get("dose_normalized_to_gy")
    factor = normalized / stated if normalized and stated else 1.0
    levels = np.zeros(case.shape, np.float32)
    for name in targets:
        named = dose_level(name)
        level = (normalized or stated) if named is None else factor * named
        if not level:
            reason = f"the network takes what is prescribed, which is not known of {name}."
            raise DataError(file, case.case, reason, "Add the RTPLAN, or give --prescription_gy.")
        levels = np.where(case.masks[name], np.maximum(levels, np.float32(level)), levels)
    return levels
