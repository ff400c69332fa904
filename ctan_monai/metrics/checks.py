"""What a metric makes sure of before it compares two tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ctan_monai.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor


def check_same_shape(task: str, case: str, prediction: Tensor, label: Tensor) -> None:
    """Refuse a prediction that has not the label's shape (broadcasting would give a number nonetheless).

    Raises:
        DataError: the shapes differ; the message states both.
    """
    if prediction.shape != label.shape:
        raise DataError(
            f"prediction of {task}",
            case,
            f"found shape {tuple(prediction.shape)}, expected the label's {tuple(label.shape)}.",
            "Bring the prediction back to the label's grid, and leave the batch axis out, before it is measured.",
        )


def check_finite(what: str, case: str, values: Tensor) -> None:
    """Refuse nan and infinities: nan would read as 'unknown' and drop the case from the means.

    Raises:
        DataError: some values are not finite.
    """
    bad = values.numel() - int(values.isfinite().sum())
    if bad:
        raise DataError(
            what,
            case,
            f"{bad} of {values.numel()} values are not finite.",
            "For a prediction: the training has probably diverged, lower the learning rate or go back to an earlier "
            "checkpoint. For a label: verify the data.",
        )
