"""Smooth Tchebycheff scalarisation: a smooth maximum of the losses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from ctan_monai.errors import ConfigError
from ctan_monai.losses.options import check_number
from ctan_monai.losses.weighting.base import Weighting
from ctan_monai.tasks import Task


class SmoothTchebycheff(Weighting):
    """The smooth maximum of preferred losses above what is ideal.

        L = mu log sum_k exp(w_k (L_k - z_k) / mu)        lambda_k = dL / dL_k = w_k softmax_k(w (L - z) / mu)

    The worse a task stands, the more it weighs; for mu -> 0 only the worst one counts, for a large mu they weigh as
    their preferences. It compares losses as they are, so set preferences where scales differ.

    Args:
        tasks: the tasks.
        mu: smoothness.
        preferences: w_k for each task's name, above 0; None: 1 for all.
        ideal: z_k, a loss that cannot be improved on, for each task's name; None: 0 for all.

    Raises:
        ConfigError: an option is out of range, or names other tasks.

    Source: Lin et al. 2024, "Smooth Tchebycheff scalarization for multi-objective optimization", eq. 7.

    >>> from ctan_monai.tasks import Classification, Regression
    >>> tasks = [Regression("dose", unit="Gy", scale=80.0), Classification("severe", ["severe"])]
    >>> losses = {"dose": torch.tensor(0.0), "severe": torch.tensor(0.0)}
    >>> round(SmoothTchebycheff(tasks, mu=0.5)(losses, {"dose": True, "severe": True}).item(), 4)  # 0.5 log 2
    0.3466
    """

    def __init__(
        self,
        tasks: Iterable[Task],
        *,
        mu: float = 0.1,
        preferences: Mapping[str, float] | None = None,
        ideal: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__(tasks)
        self.mu = check_number("weighting: stch.mu", mu, above=True)
        self.preferences = self._per_task("preferences", preferences, 1.0, above=True)
        self.ideal = self._per_task("ideal", ideal, 0.0, above=False)
        self._latest: dict[str, Tensor] = {}

    def _per_task(
        self, option: str, given: Mapping[str, float] | None, default: float, above: bool
    ) -> dict[str, float]:
        found = dict.fromkeys(self.names, default) if given is None else dict(given)
        setting = f"weighting: stch.{option}"
        if set(found) != set(self.names):
            raise ConfigError(setting, f"it is for {sorted(found)}.", f"Give a number for each of {list(self.names)}.")
        return {name: check_number(f"{setting}.{name}", found[name], above=above) for name in self.names}

    def terms(self, losses: Mapping[str, Tensor]) -> list[Tensor]:
        """Return the smooth maximum, alone."""
        if not losses:
            return []
        scaled = torch.stack(
            [self.preferences[name] * (loss - self.ideal[name]) / self.mu for name, loss in losses.items()]
        )  # (T,)
        shares = scaled.detach().softmax(0)
        self._latest = {
            name: self.preferences[name] * share for name, share in zip(losses, shares.unbind(), strict=True)
        }
        return [self.mu * scaled.logsumexp(0)]

    def weights(self) -> dict[str, float]:
        """Return the derivatives of the last step, 1 for a task that was not observed in it."""
        return {name: float(self._latest[name]) if name in self._latest else 1.0 for name in self.names}
