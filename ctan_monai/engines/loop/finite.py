"""Stop at a loss or gradient that is not finite, and name the cases of the batch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ctan_monai.engines.distributed.processes import unwrap
from ctan_monai.errors import CtanError


class NonFiniteError(CtanError):
    """A loss or a gradient is nan or infinite; the optimizer has not stepped.

    Args:
        what: 'loss' or 'gradient'.
        where: epoch and iteration.
        cases: ids of the cases in the batch.
        cause: what else is known.
        remedy: what the user can do about it.
    """

    def __init__(self, what: str, where: str, cases: Sequence[str], cause: str, remedy: str) -> None:
        self.what, self.where, self.cases, self.cause, self.remedy = what, where, tuple(cases), cause, remedy
        super().__init__(
            f"the {what} is not finite at {where}, cases {', '.join(self.cases)}: {cause} "
            f"The weights have not been changed. Remedy: {remedy}"
        )

    def __reduce__(self) -> tuple[type[NonFiniteError], tuple[str, str, tuple[str, ...], str, str]]:
        """Survive pickling."""
        return type(self), (self.what, self.where, self.cases, self.cause, self.remedy)


def fetch_finite(loss: Tensor, norms: Sequence[Tensor], trainer: Any) -> list[float]:
    """Fetch the loss and the gradient norms from the device, and check that they are finite.

    Args:
        loss: scalar.
        norms: scalars; a trainer with a gradient scaler may have infinite ones, it skips such steps.
        trainer: state (batch, output, epoch, iteration), loss_function and network are read for the message.

    Returns:
        The norms as numbers.

    Raises:
        NonFiniteError: loss or norm is nan or infinite.
    """
    loss_value, *norm_values = torch.stack([loss.detach(), *(norm.to(loss) for norm in norms)]).tolist()
    bad_gradient = trainer.scaler is None and not all(map(math.isfinite, norm_values))
    if bad_gradient or not math.isfinite(loss_value):
        raise _explain("gradient" if math.isfinite(loss_value) else "loss", trainer)
    return list(norm_values)


def _explain(what: str, trainer: Any) -> NonFiniteError:
    state = trainer.state
    cases = [str(case) for case in state.batch.get("case", ["(unnamed)"])]
    damaged = _damaged_inputs(cases, {"image": state.output["image"], **state.output["label"]})
    causes = [
        damaged or "images and labels are finite",
        _name_infinite("the loss of", getattr(trainer.loss_function, "latest", {})),
        _name_infinite(
            "the gradient of", {key: value.grad for key, value in unwrap(trainer.network).named_parameters()}
        ),
    ]
    remedy = "Lower the learning rate, set clip_norm, or train with amp false or amp_dtype bf16."
    if damaged:
        remedy = "Check these cases with `ctan-monai verify`."
    where = f"epoch {state.epoch}, iteration {state.iteration}"
    return NonFiniteError(what, where, cases, "; ".join(filter(None, causes)) + ".", remedy)


def _name_infinite(what: str, values: Mapping[str, Tensor | None]) -> str:
    """Name up to three tensors that are not finite."""
    names = [name for name, value in values.items() if value is not None and not value.isfinite().all()]
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{what} {', '.join(names[:3])}{more} is not finite" if names else ""


def _damaged_inputs(cases: Sequence[str], entries: Mapping[str, Tensor]) -> str:
    """Describe the entries of a batch (B, ...) that are not finite."""
    found = []
    for key, value in entries.items():
        flat = value.flatten(start_dim=1) if value.ndim > 1 else value[:, None]  # (B, n)
        bad = (~flat.isfinite()).any(dim=1).tolist()  # (B,)
        names = [case for case, is_bad in zip(cases, bad, strict=False) if is_bad]
        if any(bad):
            found.append(f"{key} of {', '.join(names)} holds values that are not finite")
    return "; ".join(found)
