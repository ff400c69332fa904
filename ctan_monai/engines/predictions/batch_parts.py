"""Take from a batch and its outputs what the writers of predictions need."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from torch import Tensor

from ctan_monai.errors import DataError
from ctan_monai.tasks import Task


def plain(tensor: Tensor) -> Tensor:
    """Return a tensor without MONAI's metadata and outside of autograd."""
    return tensor.as_tensor().detach() if isinstance(tensor, MetaTensor) else tensor.detach()


def finite_logits(logits: Tensor, task: Task, batch: Mapping[str, Any]) -> Tensor:
    """Return logits as a plain tensor if all of them are numbers; a mask made of NaN would just look empty.

    Raises:
        DataError: one is NaN or infinite.
    """
    found = plain(logits)
    if not bool(torch.isfinite(found).all()):
        cases = ", ".join(map(str, batch["case"]))
        raise DataError(
            f"prediction of {task.name}", cases, "it is NaN or infinite.", "Check the image, or use amp: false."
        )
    return found


def affine_of(image: Tensor, position: int, case: str) -> np.ndarray[Any, Any]:
    """Return the affine (4, 4), RAS, of one image of a batch.

    Raises:
        DataError: the image has none.
    """
    affine = getattr(image, "affine", None)
    if affine is None:
        raise DataError(case, case, "the image has lost its affine.", "Keep it a MetaTensor in the transforms.")
    matrix = torch.as_tensor(affine, dtype=torch.float64).cpu().numpy()
    return np.asarray(matrix[position] if matrix.ndim == 3 else matrix)
