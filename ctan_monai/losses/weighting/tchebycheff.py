"""Smooth Tchebycheff scalarization: a smooth maximum of the losses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from ctan_monai.errors import ConfigError, check_choice
from ctan_monai.losses.options import check_number
from ctan_monai.losses.weighting.base import Weighting
from ctan_monai.tasks import Task


class SmoothTchebycheff(Weighting):
    """Compute a smooth maximum of the losses, or of the logarithms of their ratios to a nadir.

    ``form='log'``, the authors' code (T the number of observed tasks, n_k the nadir):

        L = T mu log sum_k exp(log(L_k / n_k) / mu)        lambda_k = T softmax_k(log(L / n) / mu) / L_k

    n_k is the mean of task k's losses over the steps of the first epoch after the warm-up. Until it is known a task
    adds log L_k, so that lambda_k = 1 / L_k; with the default, that is in the first five epochs. A task without any
    label in that epoch gets its nadir in the next one that has some. Units of the losses do not matter.

    ``form='raw'``, the paper's equation:

        L = mu log sum_k exp(w_k (L_k - z_k) / mu)        lambda_k = w_k softmax_k(w (L - z) / mu)

    The worse a task stands, the more it weighs; for mu -> 0 only the worst one counts. The raw form compares losses
    as they are, so set preferences where scales differ.

    Args:
        tasks: the tasks.
        form: 'log' or 'raw'.
        mu: smoothness; None: 1 for 'log', as in the authors' code, 0.1 for 'raw'.
        warmup_epochs: of 'log': epochs before the one in which the nadir is measured.
        eps: of 'log': the smallest loss.
        preferences: of 'raw': w_k for each task's name, above 0; None: 1 for all.
        ideal: of 'raw': z_k, a loss that cannot be improved on, for each task's name; None: 0 for all.

    Raises:
        ConfigError: an option is out of range, names other tasks, or belongs to the other form.

    Source: Lin et al. 2024, "Smooth Tchebycheff scalarization for multi-objective optimization", eq. 7, and its public
    code (Xi-L/STCH, `STCH_MTL`): logarithms, nadir, warm-up of 4 epochs, mu of 1 and the factor T are the code's.

    >>> from ctan_monai.tasks import Classification, Regression
    >>> tasks = [Regression("dose", unit="Gy", scale=80.0), Classification("severe", ["severe"])]
    >>> stch, seen = SmoothTchebycheff(tasks, warmup_epochs=0), {"dose": True, "severe": True}
    >>> losses = {"dose": torch.tensor(0.5), "severe": torch.tensor(4.0)}
    >>> round(stch(losses, seen).item(), 4)  # log 0.5 + log 4
    0.6931
    >>> stch.end_epoch()
    >>> round(stch(losses, seen).item(), 4)  # both are at their nadir: 2 log(1 + 1)
    1.3863
    """

    nadir: Tensor
    sums: Tensor
    epochs: Tensor

    def __init__(
        self,
        tasks: Iterable[Task],
        *,
        form: str = "log",
        mu: float | None = None,
        warmup_epochs: int = 4,
        eps: float = 1e-8,
        preferences: Mapping[str, float] | None = None,
        ideal: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__(tasks)
        self.form = check_choice("weighting: stch.form", form, ["log", "raw"])
        self.mu = check_number("weighting: stch.mu", {"log": 1.0, "raw": 0.1}[form] if mu is None else mu, above=True)
        self.warmup_epochs = check_number("weighting: stch.warmup_epochs", warmup_epochs)
        self.eps = check_number("weighting: stch.eps", eps, above=True)
        self.preferences = self._per_task("preferences", preferences, 1.0, above=True)
        self.ideal = self._per_task("ideal", ideal, 0.0, above=False)
        if form == "log":
            count = len(self.names)
            self.register_buffer("nadir", torch.full((count,), torch.nan))  # nan: not known yet
            self.register_buffer("sums", torch.zeros(2, count))  # of this epoch's losses, and their number
            self.register_buffer("epochs", torch.zeros(()))  # that have ended

    def _per_task(
        self, option: str, given: Mapping[str, float] | None, default: float, above: bool
    ) -> dict[str, float]:
        found = dict.fromkeys(self.names, default) if given is None else dict(given)
        setting = f"weighting: stch.{option}"
        if given is not None and self.form == "log":
            raise ConfigError(
                setting, "it is for the raw form, and the form is 'log'.", "Leave it out, or set form: raw."
            )
        if set(found) != set(self.names):
            raise ConfigError(setting, f"it is for {sorted(found)}.", f"Give a number for each of {list(self.names)}.")
        return {name: check_number(f"{setting}.{name}", found[name], above=above) for name in self.names}

    def observe(self, losses: Mapping[str, Tensor], seen: Mapping[str, Tensor]) -> None:
        """Accumulate finite losses for the nadir on the device, without synchronizing it."""
        if self.form == "raw":
            return
        for index, name in enumerate(self.names):
            if name in losses:
                counts = seen[name] & losses[name].isfinite() & (self.epochs >= self.warmup_epochs)
                step = torch.stack([torch.where(counts, losses[name], 0), counts.to(losses[name])])  # (2,)
                self.sums[:, index] += step.to(self.sums)

    def end_epoch(self) -> None:
        """Set the nadir of each task that has none to its mean loss of the epoch."""
        if self.form == "raw":
            return
        total, steps = self.sums.unbind()
        new = self.nadir.isnan() & (steps > 0)
        self.nadir.copy_(torch.where(new, (total / steps).clamp_min(self.eps), self.nadir))
        self.sums.zero_()
        self.epochs += 1

    def terms(self, losses: Mapping[str, Tensor], seen: Mapping[str, Tensor]) -> list[Tensor]:
        """Return the smooth maximum, and the logarithms of losses whose nadir is not known."""
        if not losses:
            return []
        observed = torch.stack(list(seen.values()))  # (T,)
        return self._log_terms(losses, observed) if self.form == "log" else self._raw_terms(losses, observed)

    def _log_terms(self, losses: Mapping[str, Tensor], observed: Tensor) -> list[Tensor]:
        stacked = torch.stack(list(losses.values())).clamp_min(self.eps)  # (T,)
        nadir = torch.stack([self.nadir[self.names.index(name)] for name in losses]).to(stacked)  # (T,)
        measured = nadir.isfinite()
        known = measured & observed
        scaled = (stacked / torch.where(measured, nadir, 1)).log() / self.mu
        joined = torch.where(known | ~known.any(), scaled, -torch.inf)  # never all -inf, whose derivative is nan
        shares = torch.where(known, known.sum() * joined.detach().softmax(0), 1.0)
        self.keep_derivatives(losses, torch.where(observed, shares / stacked.detach(), 1))
        logarithms = torch.where(observed & ~measured, stacked.log(), 0)
        return [logarithms.sum(), known.sum() * self.mu * joined.logsumexp(0)]

    def _raw_terms(self, losses: Mapping[str, Tensor], observed: Tensor) -> list[Tensor]:
        scaled = torch.stack(
            [self.preferences[name] * (loss - self.ideal[name]) / self.mu for name, loss in losses.items()]
        )  # (T,)
        joined = torch.where(observed | ~observed.any(), scaled, -torch.inf)
        shares = zip(losses, joined.detach().softmax(0).unbind(), strict=True)
        derivatives = torch.stack([self.preferences[name] * share for name, share in shares])
        self.keep_derivatives(losses, torch.where(observed, derivatives, 1))
        return [torch.where(observed.any(), self.mu * joined.logsumexp(0), 0)]
