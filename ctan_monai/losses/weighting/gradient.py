"""The base class of weightings that combine the tasks' gradients instead of their losses."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ctan_monai.losses.weighting.base import Weighting
from ctan_monai.tasks import Task

Gradients = Sequence[Mapping[str, Tensor]]


class GradientWeighting(Weighting):
    """Combine the tasks' gradients at the tensors that several tasks read; sum their losses with weight 1.

    The tasks meet in the features that several of their decoders read: the trainer asks for each task's gradient there
    (`engines.task_gradients`), and everything before them learns from what `combine` makes of these. A decoder serves
    one task, and learns from that task's own gradient; so do features that one decoder alone reads.

    What is random depends on ``seed`` and the number of training steps alone, so that a resumed run goes on with the
    same numbers.

    Args:
        tasks: the tasks.
        seed: of what is random; None: torch's initial seed, which `seed_run` makes the run's.
    """

    def __init__(self, tasks: Iterable[Task], *, seed: int | None = None) -> None:
        super().__init__(tasks)
        self._seed = (torch.initial_seed() if seed is None else int(seed)) % 2**63
        self._step = 0
        self._seen: Mapping[str, Tensor] = {name: torch.ones((), dtype=torch.bool) for name in self.names}

    def observe(self, losses: Mapping[str, Tensor], seen: Mapping[str, Tensor]) -> None:
        """Count the step, and store which tasks were observed in it."""
        self._step += 1
        self._seen = dict(seen)

    def combine(self, gradients: Gradients) -> list[Tensor]:
        """Combine the tasks' gradients of the current step.

        A task that was not observed takes no part; its gradients are 0. What one task alone reads is not joined.

        Args:
            gradients: for each tensor (of any shape) that decoders read, the gradient of each task that reads it.

        Returns:
            For each of them one gradient of its shape.
        """
        names = self.joined_tasks()
        common = [sum(name in parts for name in names) > 1 for parts in gradients]
        met = [parts for parts, several in zip(gradients, common, strict=True) if several]
        joined = iter(self.join(met, names) if met else ())
        return [
            next(joined) if several else add_up(parts, {}) for parts, several in zip(gradients, common, strict=True)
        ]

    def joined_tasks(self) -> list[str]:
        """Return the tasks that may have been observed in the step, in order, without waiting for the device."""
        return [name for name in self.names if name in self._seen]

    @abstractmethod
    def join(self, gradients: Gradients, names: Sequence[str]) -> list[Tensor]:
        """Combine the gradients of tensors that at least two tasks read; those of unobserved tasks are 0.

        Args:
            gradients: as for `combine`.
            names: `joined_tasks`.
        """

    def generator(self) -> np.random.Generator:
        """Return a random generator seeded for the current step."""
        return np.random.default_rng([self._seed, self._step])

    def get_extra_state(self) -> dict[str, int]:
        """Return the state of a checkpoint."""
        return {"seed": self._seed, "step": self._step}

    def set_extra_state(self, state: Any) -> None:
        """Restore the state that `get_extra_state` returned."""
        self._seed, self._step = int(state["seed"]), int(state["step"])


def add_up(parts: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> Tensor:
    """Sum the tasks' gradients of one tensor, each times its weight; 1 where there is none."""
    first, *rest = [part * weights[name] if name in weights else part for name, part in parts.items()]
    for part in rest:
        first = first + part
    return first


def inner_products(gradients: Gradients, names: Sequence[str]) -> Tensor:
    """Return the inner products (T, T) of the tasks' gradients, in float32 at least.

    A task's gradient is that of all tensors together, 0 in those that it does not read.

    Args:
        gradients: as for `GradientWeighting.combine`.
        names: the T tasks, in order.
    """
    rows = [[_inner_product(gradients, one, other) for other in names[: i + 1]] for i, one in enumerate(names)]
    nothing = gradients[0][next(iter(gradients[0]))].new_zeros(())
    nothing = nothing.to(torch.promote_types(nothing.dtype, torch.float32))
    filled = [[nothing if value is None else value for value in row] for row in rows]
    count = range(len(names))
    return torch.stack([torch.stack([filled[max(i, j)][min(i, j)] for j in count]) for i in count])  # (T, T)


def _inner_product(gradients: Gradients, one: str, other: str) -> Tensor | None:
    """Return the inner product of two tasks' gradients, None if they read no tensor in common."""
    terms = [_dot(parts[one], parts[other]) for parts in gradients if one in parts and other in parts]
    return torch.stack(terms).sum() if terms else None


def _dot(one: Tensor, other: Tensor) -> Tensor:
    precise = torch.promote_types(one.dtype, torch.float32)
    if one is other:
        norm: Tensor = torch.linalg.vector_norm(one, dtype=precise)
        return norm.square()
    return (one.to(precise) * other.to(precise)).sum()
