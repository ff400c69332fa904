"""Per-task gradients at the features that decoders read, for gradient weightings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ctan_monai.engines.distributed.processes import unwrap
from ctan_monai.errors import ConfigError
from ctan_monai.losses.weighting.gradient import GradientWeighting


class TaskGradients:
    """Cut a network's graph at the decoders' inputs, and combine the tasks' gradients there.

    In the forward pass each decoder reads detached copies (no memory is copied) of the features that it is given. So
    one backward pass gives every decoder's parameters their gradient and each task's gradient at each feature tensor,
    and a second one takes what the weighting makes of the latter through the rest of the network. Together they cost
    what one backward pass through the whole network does.

    Args:
        network: has a module ``decoders`` with one entry for each task.
        weighting: joins the gradients.

    Raises:
        ConfigError: the network is wrapped, shares nothing, or has no such decoders.
    """

    def __init__(self, network: nn.Module, weighting: GradientWeighting) -> None:
        self._weighting = weighting
        self._decoders = _decoders_of(network, type(weighting).__name__)
        self._copies: dict[int, tuple[Tensor, dict[str, Tensor]]] = {}  # by id: a tensor, and each task's copy of it

    @contextmanager
    def cut(self) -> Iterator[None]:
        """Detach the decoders' inputs within this context."""
        self._copies = {}
        handles = [
            decoder.register_forward_pre_hook(partial(self._copy_inputs, name))
            for name, decoder in self._decoders.items()
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def backward(self, loss: Tensor) -> None:
        """Compute all gradients of a loss, () scalar, whose forward pass was cut."""
        torch.autograd.backward(loss)
        tensors, gradients = [], []
        for tensor, copies in self._copies.values():
            found = {name: copy.grad for name, copy in copies.items() if copy.grad is not None}
            if found:
                tensors.append(tensor)
                gradients.append(found)
        self._copies = {}
        if tensors:
            torch.autograd.backward(tensors, self._weighting.combine(gradients))

    def _copy_inputs(self, task: str, decoder: nn.Module, inputs: Any) -> Any:
        return self._copied(task, inputs)

    def _copied(self, task: str, value: Any) -> Any:
        """Replace the tensors that have a gradient, in (named) tuples and lists too."""
        if isinstance(value, Tensor):
            if not value.requires_grad:
                return value
            _, copies = self._copies.setdefault(
                id(value), (value, {})
            )  # keeps the tensor, so that its id stays its own
            if task not in copies:
                copies[task] = value.detach().requires_grad_()
            return copies[task]
        if isinstance(value, tuple) and hasattr(value, "_make"):
            return value._make(self._copied(task, entry) for entry in value)
        if isinstance(value, tuple | list):
            return type(value)(self._copied(task, entry) for entry in value)
        return value


def task_gradients(network: nn.Module, loss: Any) -> TaskGradients | None:
    """Create the `TaskGradients` of a loss whose weighting combines gradients; None for any other loss.

    Args:
        network: the network that is trained.
        loss: the loss function, may have a ``weighting``.

    Raises:
        ConfigError: such a weighting cannot be used with this network.
    """
    weighting = getattr(loss, "weighting", None)
    return TaskGradients(network, weighting) if isinstance(weighting, GradientWeighting) else None


def _decoders_of(network: nn.Module, method: str) -> Mapping[str, nn.Module]:
    if unwrap(network) is not network:
        raise ConfigError(
            "weighting",
            f"{method} joins the gradients of one process, in a network that is not compiled.",
            "Train in one process, or use another --weighting, for example dwa.",
        )
    inner: Any = network
    if getattr(inner, "independent_tasks", False):
        raise ConfigError(
            "weighting", f"{method} joins gradients, and these tasks share nothing.", "Use --weighting equal."
        )
    found = getattr(inner, "decoders", None)
    decoders = dict(found.items()) if isinstance(found, nn.ModuleDict) else {}
    names = [task.name for task in inner.tasks]
    if set(decoders) != set(names):
        raise ConfigError(
            "weighting",
            f"{method} needs a network with a decoder for each of {names} in its ModuleDict `decoders`, "
            f"{type(inner).__name__} has {sorted(decoders)}.",
            "Use another --weighting, for example dwa.",
        )
    return decoders
