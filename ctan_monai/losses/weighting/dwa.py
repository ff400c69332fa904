"""Dynamic weight average (DWA): a task whose loss falls more slowly than the others' gets more weight."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from ctan_monai.errors import ConfigError
from ctan_monai.losses.options import check_number
from ctan_monai.losses.weighting.base import Weighting
from ctan_monai.tasks import Task


class DynamicWeightAverage(Weighting):
    """Weight tasks by the ratio of their mean losses in the last two epochs (DWA).

    With L_k(e) the mean over the steps of epoch e of task k's unweighted training loss:

        w_k = L_k(e-1) / L_k(e-2)        lambda_k = T exp(w_k / temperature) / sum_i exp(w_i / temperature)

    Each task has a history of its own: an epoch without any label of a task leaves its last two observed epochs in
    place. Until a task has two of them, and where L_k(e-2) is as good as 0, its ratio is the neutral w_k = 1; so all
    lambdas are 1 in the first two epochs. Steps with a loss that is not finite do not count.

    Args:
        tasks: the tasks.
        temperature: softness of the weights; large for equal ones.
        eps: losses up to this are taken for 0.

    Raises:
        ConfigError: an option is out of range.

    Source: Liu, Johns, Davison 2019, "End-to-end multi-task learning with attention", eq. 7; as in the authors' code,
    epochs, not iterations (CTAN's Alg. 1 says "iteration").

    >>> from ctan_monai.tasks import Classification, Regression
    >>> tasks = [Regression("dose", unit="Gy", scale=80.0), Classification("severe", ["severe"])]
    >>> dwa = DynamicWeightAverage(tasks)
    >>> for dose, severe in [(1.0, 1.0), (0.5, 1.0)]:
    ...     _ = dwa({"dose": torch.tensor(dose), "severe": torch.tensor(severe)}, {"dose": True, "severe": True})
    ...     dwa.end_epoch()
    >>> a, b = math.exp(0.5 / 2), math.exp(1.0 / 2)
    >>> abs(dwa.weights()["dose"] - 2 * a / (a + b)) < 1e-12, abs(dwa.weights()["severe"] - 2 * b / (a + b)) < 1e-12
    (True, True)
    """

    running: Tensor

    def __init__(self, tasks: Iterable[Task], *, temperature: float = 2.0, eps: float = 1e-12) -> None:
        super().__init__(tasks)
        self.temperature = check_number("weighting: dwa.temperature", temperature, above=True)
        self.eps = check_number("weighting: dwa.eps", eps)
        self._history: dict[str, list[float]] = {
            name: [] for name in self.names
        }  # at most two epoch means, oldest first
        precise = torch.float32 if torch.backends.mps.is_available() else torch.float64  # MPS has no float64
        sums = torch.zeros(2, len(self.names), dtype=precise)  # of this epoch's losses, and their number
        self.register_buffer("running", sums, persistent=False)
        self._weights = dict.fromkeys(self.names, 1.0)

    def observe(self, losses: Mapping[str, Tensor], seen: Mapping[str, Tensor]) -> None:
        """Accumulate the losses of one step on the device, without synchronizing it."""
        if self.running.device != (device := next(iter(losses.values()), self.running).device):
            self.running = self.running.to(device)
        for index, name in enumerate(self.names):
            if name in losses:
                counts = losses[name].isfinite() & seen[name]
                self.running[:, index] += torch.stack([torch.where(counts, losses[name], 0), counts]).to(self.running)

    def end_epoch(self) -> None:
        """Close the epoch: append its means to the histories and compute the next epoch's weights."""
        for name, (total, steps) in zip(self.names, self.running.T.tolist(), strict=True):
            if steps > 0:
                self._history[name] = [*self._history[name], total / steps][-2:]
        self.running.zero_()
        self._weights = self._compute()

    def weights(self) -> dict[str, float]:
        """Return the lambdas of the current epoch."""
        return dict(self._weights)

    def weigh(self, name: str, loss: Tensor) -> Tensor:
        """Return lambda times the loss."""
        return loss * self._weights[name]

    def _compute(self) -> dict[str, float]:
        ratios = {name: self._ratio(history) for name, history in self._history.items()}
        largest = max(ratios.values())  # subtracted, so that no exponential overflows
        powers = {name: math.exp((ratio - largest) / self.temperature) for name, ratio in ratios.items()}
        total = math.fsum(powers.values())
        return {name: len(powers) * power / total for name, power in powers.items()}

    def _ratio(self, history: list[float]) -> float:
        if len(history) < 2 or history[0] <= self.eps:
            return 1.0
        return history[1] / history[0]

    def get_extra_state(self) -> dict[str, dict[str, Tensor]]:
        """Return the state of a checkpoint, also within an epoch: histories and running sums, as tensors."""
        history = {name: torch.tensor(means, dtype=torch.float64) for name, means in self._history.items()}
        return {"history": history, "running": dict(zip(self.names, self.running.clone().unbind(1), strict=True))}

    def set_extra_state(self, state: Any) -> None:
        """Restore the state that `get_extra_state` returned.

        Raises:
            ConfigError: the state belongs to other tasks.
        """
        if set(state["history"]) != set(self.names):
            raise ConfigError(
                "weighting: dwa",
                f"the checkpoint has histories of {sorted(state['history'])}, expected {sorted(self.names)}.",
                "Resume with the tasks of that run, or start a new one.",
            )
        self._history = {name: state["history"][name].tolist()[-2:] for name in self.names}
        nothing = self.running.new_zeros(2)
        self.running = torch.stack([state["running"].get(name, nothing).to(nothing) for name in self.names], dim=1)
        self._weights = self._compute()
