"""Stop at a loss or gradient that is not finite, and name the cases of the batch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ctan_monai.engines.distributed.processes import unwrap
from ctan_monai.errors import ConfigError, CtanError
from ctan_monai.losses.weighting.base import Weighting


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
        """Support pickling."""
        return type(self), (self.what, self.where, self.cases, self.cause, self.remedy)


class FiniteGuard:
    """Skip the steps that follow a loss or gradient that is not finite, and end the training with the cases' names.

    Looked at in each step, loss and norms make the host wait for the device once. Looked at every ``every`` steps, they
    do not: the number of the first micro-batch that is not finite stays on the device. From that one on the optimizer
    skips its steps (``found_inf`` of torch's fused optimizers). At the next look, buffers of network and loss (running
    statistics, the state of a weighting) are put back to what that micro-batch met, which is then
    repeated to tell what was wrong.

    Args:
        trainer: state, loss_function, network, optimizer and scaler are read.
        every: micro-batches between looks, see `check_interval`; the end of an epoch is one too.
    """

    def __init__(self, trainer: Any, every: int) -> None:
        self.trainer, self.every = trainer, every
        self._batches: list[tuple[int, int, Any]] = []  # epoch, iteration and batch since the last look
        self._first: Tensor | None = None  # () int64 on the device: the first iteration that was not finite, or 0
        self._met: list[Tensor] = []  # the buffers that this or the first micro-batch that is not finite met, by dtype

    def begin(self, batch: Any) -> None:
        """Snapshot the buffers that a micro-batch which is not finite would damage."""
        if self.every == 1:
            return
        state = self.trainer.state
        self._batches.append((state.epoch, state.iteration, batch))
        now = [torch.cat([value.flatten() for value in group]) for group in self._buffers()]
        if self._first is not None:
            now = [torch.where(self._first > 0, *both) for both in zip(self._met, now, strict=True)]
        self._met = now

    def look(self, loss: Tensor, norms: Sequence[Tensor]) -> list[float]:
        """Check a micro-batch's loss and, if an optimizer step follows, its gradients.

        Args:
            loss: scalar.
            norms: of the gradients, scalars; a trainer with a gradient scaler may have infinite ones, it skips such
                steps.

        Returns:
            The norms where they were read, nothing where they were not.

        Raises:
            NonFiniteError: loss or norm was read, and is nan or infinite.
        """
        found = torch.stack([loss.detach(), *(norm.to(loss) for norm in norms)])
        if self.every > 1:
            first = torch.zeros((), dtype=torch.int64, device=found.device) if self._first is None else self._first
            bad = ~found.isfinite().all() & (first == 0)
            self._first = torch.where(bad, self.trainer.state.iteration, first)
            self.trainer.optimizer.found_inf = (self._first > 0).to(torch.float32)
            return []
        loss_value, *norm_values = found.tolist()
        bad_gradient = self.trainer.scaler is None and not all(map(math.isfinite, norm_values))
        if bad_gradient or not math.isfinite(loss_value):
            raise _explain("gradient" if math.isfinite(loss_value) else "loss", self.trainer)
        return list(norm_values)

    def end(self) -> None:
        """Read the flag every ``every`` micro-batches and at the end of an epoch.

        Raises:
            NonFiniteError: a loss or norm since the last look was nan or infinite.
        """
        state = self.trainer.state
        ends = not state.epoch_length or state.iteration % state.epoch_length == 0
        if self.every == 1 or (len(self._batches) < self.every and not ends):
            return
        if first := int(self._first) if self._first is not None else 0:
            raise self._repeat(*next(kept for kept in self._batches if kept[1] == first))
        self._batches.clear()

    def _repeat(self, epoch: int, iteration: int, batch: Any) -> NonFiniteError:
        """Recompute loss and gradients of a micro-batch with the weights and buffers that it met."""
        trainer = self.trainer
        trainer.state.epoch, trainer.state.iteration, trainer.state.batch = epoch, iteration, batch
        self._put_back()
        trainer.optimizer.zero_grad()
        loss = trainer.compute_gradients(batch, 1)
        self._put_back()
        return _explain("gradient" if bool(loss.isfinite()) else "loss", trainer)

    def _put_back(self) -> None:
        with torch.no_grad():
            for group, kept in zip(self._buffers(), self._met, strict=True):
                for value, before in zip(group, torch.split(kept, [value.numel() for value in group]), strict=True):
                    value.copy_(before.view(value.shape))

    def _buffers(self) -> list[list[Tensor]]:
        """Group the buffers of network and loss by dtype."""
        groups: dict[torch.dtype, list[Tensor]] = {}
        for module in (self.trainer.network, self.trainer.loss_function):
            for value in module.buffers() if isinstance(module, nn.Module) else ():
                groups.setdefault(value.dtype, []).append(value)
        return list(groups.values())


def check_interval(every: int | None, device: torch.device, optimizer: Any, scaler: Any) -> int:
    """Choose how many steps may pass between two looks for losses and gradients that are not finite.

    1 on a CPU, which nothing waits for, with a gradient scaler, and with an optimizer that cannot skip a step without
    being asked by the host (all but torch's fused ones); 20 elsewhere, or as given.

    Raises:
        ConfigError: a number above 1 was asked for, and is not possible.
    """
    possible = scaler is None and getattr(optimizer, "_step_supports_amp_scaling", False)
    if every is None:
        return 20 if possible and device.type != "cpu" else 1
    if every < 1 or (every > 1 and not possible):
        raise ConfigError(
            "finite_check_every",
            f"{every} needs bf16 or float32, and an optimizer that skips a step on the device.",
            "Give the optimizer fused: true, or leave finite_check_every at 1.",
        )
    return every


@contextmanager
def holding_unobserved(loss: Any, optimizer: torch.optim.Optimizer) -> Iterator[None]:
    """Undo an optimizer's step for parameters of a weighting whose task was not observed, as momentum moves them.

    Args:
        loss: a loss, which may have ``observed`` and a weighting with ``learned()``.
        optimizer: makes its step within.
    """
    learned = loss.weighting.learned() if isinstance(getattr(loss, "weighting", None), Weighting) else {}
    kept = {name: (value.detach().clone(), _copied(optimizer.state.get(value, {}))) for name, value in learned.items()}
    yield
    with torch.no_grad():
        for name, (value, state) in kept.items():
            seen = loss.observed[name]
            learned[name].copy_(torch.where(seen, learned[name], value))
            for key, now in optimizer.state.get(learned[name], {}).items():
                if isinstance(now, Tensor) and now.device == seen.device:
                    now.copy_(torch.where(seen, now, state.get(key, torch.zeros_like(now))))


def _copied(state: Mapping[str, Any]) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in state.items() if isinstance(value, Tensor)}


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
