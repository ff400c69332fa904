"""Left and right in the names of structures, and in the patient."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ctan_monai.data.cases.case import Case
from ctan_monai.data.cases.grid import mask_center
from ctan_monai.tasks import Segmentation

_MARGIN_MM = 10.0  # structures that meet in the middle may cross it


def side_of(label: str) -> int:
    """Tell whether a label's name says left (-1), right (1) or neither (0).

    >>> [side_of(name) for name in ("Kidney_L", "RightLung", "Liver", "femur-left", "Larynx")]
    [-1, 1, 0, -1, 0]
    """
    words = label.lower().replace("-", "_").split("_")
    left = words[-1] in ("l", "left") or words[0].startswith("left")
    right = words[-1] in ("r", "right") or words[0].startswith("right")
    return int(right) - int(left)


def swapped_pairs(case: Case, task: Segmentation) -> list[tuple[str, str]]:
    """List the pairs of labels of which the left one lies to the right of the right one.

    Args:
        case: a volume; images do not say where left is.
        task: its ``mirror_pairs`` are looked at, where both labels are known and one name says left, the other right.
    """
    if len(case.shape) != 3:
        return []
    found = []
    for pair in task.mirror_pairs:
        known = {side_of(label): case.masks[label] for label in pair if label in case.masks and case.masks[label].any()}
        if {-1, 1} <= known.keys():
            left_mm, right_mm = (_rightwards_mm(known[side], case.affine_ras) for side in (-1, 1))
            if left_mm > right_mm + _MARGIN_MM:
                found.append((pair[0], pair[1]))
    return found


def _rightwards_mm(mask: npt.NDArray[np.bool_], affine_ras: npt.NDArray[Any]) -> float:
    """Return how far to the patient's right the center of a mask lies."""
    return float((affine_ras @ np.append(mask_center(mask), 1.0))[0])
