"""FAMO: weights by which the losses of all tasks fall at the same rate."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from ctan_monai.losses.options import check_number
from ctan_monai.losses.weighting.base import Weighting
from ctan_monai.tasks import Task

_BETAS, _ADAM_EPS = (0.9, 0.999), 1e-8


class Famo(Weighting):
    """Sum c z_k log L_k with z = softmax(xi) and 1/c = sum_k z_k / L_k: fast adaptive multi-task optimization (FAMO).

        lambda_k = c z_k / L_k        sum_k lambda_k = 1

    After each step xi follows, by Adam with weight decay, the gradient of the weighted rate of improvement,
    J_z^T (log L(t) - log L(t+1)): a task that has improved less than the others gets more weight.

    The authors' code computes L(t+1) by a second forward pass over the same batch. Here it is the loss of the next
    batch, which costs nothing and is noisier. Tasks that were not observed in both steps leave their xi in place.

    Args:
        tasks: the tasks.
        learning_rate: of xi.
        decay: weight decay of xi by Adam (gamma in the paper): 0.01 in the authors' `famo.py`, which their runs on
            CityScapes keep; 0.001 in those on NYUv2, CelebA and QM9.
        eps: the smallest loss.

    Raises:
        ConfigError: an option is out of range.

    Source: Liu, Feng, Stone, Liu 2023, "FAMO: fast adaptive multitask optimization", Alg. 1.

    >>> from ctan_monai.tasks import Classification, Regression
    >>> tasks = [Regression("dose", unit="Gy", scale=80.0), Classification("severe", ["severe"])]
    >>> famo = Famo(tasks)
    >>> _ = famo({"dose": torch.tensor(1.0), "severe": torch.tensor(3.0)}, {"dose": True, "severe": True})
    >>> {name: round(weight, 4) for name, weight in famo.weights().items()}  # z = 1/2 each: 1/L over the sum of 1/L
    {'dose': 0.75, 'severe': 0.25}
    """

    xi: Tensor
    moments: Tensor
    updates: Tensor
    before: Tensor

    def __init__(
        self, tasks: Iterable[Task], *, learning_rate: float = 0.025, decay: float = 0.01, eps: float = 1e-8
    ) -> None:
        super().__init__(tasks)
        self.learning_rate = check_number("weighting: famo.learning_rate", learning_rate, above=True)
        self.decay = check_number("weighting: famo.decay", decay)
        self.eps = check_number("weighting: famo.eps", eps, above=True)
        count = len(self.names)
        self.register_buffer("xi", torch.zeros(count))
        self.register_buffer("moments", torch.zeros(2, count))  # Adam's
        self.register_buffer("updates", torch.zeros(()))
        self.register_buffer("before", torch.full((count,), torch.nan))  # log L of the last step; nan: not observed

    def observe(self, losses: Mapping[str, Tensor], seen: Mapping[str, Tensor]) -> None:
        """Update xi by how much each loss has changed since the last step."""
        now = torch.full_like(self.before, torch.nan)
        for index, name in enumerate(self.names):
            if name in losses:
                now[index] = torch.where(seen[name], losses[name].clamp_min(self.eps).log(), torch.nan)
        change = self.before - now  # (T,) log L(t) - log L(t+1)
        known = change.isfinite()
        shares = torch.where(known, self.xi, -torch.inf).softmax(0).nan_to_num()  # over what is known
        change = torch.where(known, change, 0.0)
        gradient = shares * (change - (shares * change).sum()) + self.decay * self.xi * known  # J_z^T change
        self._adam(gradient, known)
        self.before.copy_(now)

    def _adam(self, gradient: Tensor, known: Tensor) -> None:
        some = known.any().to(self.updates)
        self.updates += some
        first = _BETAS[0] * self.moments[0] + (1 - _BETAS[0]) * gradient
        second = _BETAS[1] * self.moments[1] + (1 - _BETAS[1]) * gradient**2
        self.moments.copy_(torch.where(known, torch.stack([first, second]), self.moments))
        count = self.updates.clamp_min(1)
        step = (first / (1 - _BETAS[0] ** count)) / ((second / (1 - _BETAS[1] ** count)).sqrt() + _ADAM_EPS)
        self.xi -= torch.where(known, self.learning_rate * step, 0.0)

    def terms(self, losses: Mapping[str, Tensor], seen: Mapping[str, Tensor]) -> list[Tensor]:
        """Return c z_k log L_k of each observed task, z over these."""
        if not losses:
            return []
        known = torch.stack(list(seen.values()))  # (T,)
        stacked = torch.stack(list(losses.values())).clamp_min(self.eps)  # (T,)
        xi = torch.stack([self.xi[self.names.index(name)] for name in losses]).to(stacked)
        shares = torch.where(known | ~known.any(), xi, -torch.inf).softmax(0)  # never all -inf, whose softmax is nan
        factor = torch.where(known, 1 / (shares / stacked.detach()).sum(), 0)  # (T,)
        self.keep_derivatives(losses, torch.where(known, factor * shares / stacked.detach(), 1))
        return list((factor * shares * stacked.log()).unbind())
