"""Geometric loss strategy: the geometric mean of the losses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from ctan_monai.losses.options import check_number
from ctan_monai.losses.weighting.base import Weighting
from ctan_monai.tasks import Task


class GeometricLoss(Weighting):
    """Compute the geometric mean of the observed tasks' losses.

        L = (prod_k L_k)^(1/T)        lambda_k = dL / dL_k = L / (T L_k)

    Halving any loss by training is worth the same, whatever its scale. Losses must not be negative; up to ``eps`` they
    are taken for ``eps``.

    Args:
        tasks: the tasks.
        eps: the smallest loss.

    Raises:
        ConfigError: eps is not positive.

    Source: Chennupati et al. 2019, "MultiNet++: multi-stream feature aggregation and geometric loss strategy for
    multi-task learning", eq. 2.

    >>> from ctan_monai.tasks import Classification, Regression
    >>> tasks = [Regression("dose", unit="Gy", scale=80.0), Classification("severe", ["severe"])]
    >>> losses = {"dose": torch.tensor(0.25), "severe": torch.tensor(4.0)}
    >>> GeometricLoss(tasks)(losses, {"dose": True, "severe": True})
    tensor(1.)
    """

    def __init__(self, tasks: Iterable[Task], *, eps: float = 1e-8) -> None:
        super().__init__(tasks)
        self.eps = check_number("weighting: gls.eps", eps, above=True)

    def terms(self, losses: Mapping[str, Tensor], seen: Mapping[str, Tensor]) -> list[Tensor]:
        """Return the geometric mean as the only term."""
        if not losses:
            return []
        known = torch.stack(list(seen.values()))  # (T,)
        stacked = torch.stack(list(losses.values())).clamp_min(self.eps)  # (T,)
        count = known.sum().clamp_min(1)
        mean = torch.where(known.any(), (torch.where(known, stacked.log(), 0).sum() / count).exp(), 0)
        self.keep_derivatives(losses, torch.where(known, mean / (count * stacked), 1).detach())
        return [mean]
