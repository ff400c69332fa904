"""Uncertainty weighting: each task's noise variance is learned along with the network."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from ctan_monai.losses.options import check_number
from ctan_monai.losses.weighting.base import Weighting
from ctan_monai.tasks import Task


class LearnedScale(Weighting):
    """Base class: sum exp(x_k) L_k - x_k over the tasks, with x_k the sign times a learned parameter s_k.

    Args:
        tasks: the tasks.
        option: name of the start's option in the config, for messages.
        start: s_k at the start.
        parameter: name of s_k, before the task's.
        sign: 1 or -1.

    Raises:
        ConfigError: the start is no number.
    """

    def __init__(self, tasks: Iterable[Task], option: str, start: float, parameter: str, sign: float) -> None:
        super().__init__(tasks)
        self._parameter, self._sign = parameter, sign
        value = check_number(f"weighting: {option}", start, minimum=-20.0)
        for name in self.names:
            self.register_parameter(f"{parameter}_{name}", nn.Parameter(torch.tensor(value)))

    def weigh(self, name: str, loss: Tensor) -> Tensor:
        """Return exp(x) L - x."""
        scale = self._sign * self.learned()[name]
        return scale.exp() * loss - scale

    def learned(self) -> dict[str, nn.Parameter]:
        """Return s_k of each task."""
        return {name: self.get_parameter(f"{self._parameter}_{name}") for name in self.names}

    def weights(self) -> dict[str, float]:
        """Return exp(x_k)."""
        return {name: (self._sign * value).exp().item() for name, value in self.learned().items()}


class UncertaintyWeighting(LearnedScale):
    """Sum exp(-s_k) L_k + s_k with a learned log-variance s_k per task; lambda_k = exp(-s_k).

    This is the likelihood of a Laplace distribution of scale exp(s) for an absolute error. Kendall's constants are
    1/2 and 1/2 for a squared error (Gauss) and 1 and 1/2 for a cross-entropy, with s = log sigma^2; for these
    `exp(-s) L + s/2` is half of this form with 2 L in place of L. One form for all kinds keeps the stationary point
    at s_k = log L_k, where each task adds 1 + log L_k: halving any loss by training is worth the same.

    The total may be negative. The parameters must go to the optimizer, best without weight decay, which pulls
    lambda to 1. The gradient of s_k is the same on all processes. A task that is not observed in a step leaves its
    s_k without a gradient, or with one of 0 where that is known on the device only: the trainer then puts s_k and
    what the optimizer keeps of it back after the step, which momentum would move.

    Args:
        tasks: the tasks.
        initial_log_variance: s_k at the start.

    Raises:
        ConfigError: the option is no number.

    Source: Kendall, Gal, Cipolla 2018, "Multi-task learning using uncertainty to weigh losses", eqs. 7 and 10.

    >>> from ctan_monai.tasks import Classification, Regression
    >>> tasks = [Regression("dose", unit="Gy", scale=80.0), Classification("severe", ["severe"])]
    >>> losses = {"dose": torch.tensor(0.25), "severe": torch.tensor(0.5)}
    >>> total = UncertaintyWeighting(tasks, initial_log_variance=1.0)(losses, {"dose": True, "severe": True})
    >>> round(total.item(), 4)  # 0.25 / e + 1 + 0.5 / e + 1
    2.2759
    """

    def __init__(self, tasks: Iterable[Task], *, initial_log_variance: float = 0.0) -> None:
        super().__init__(tasks, "uncertainty.initial_log_variance", initial_log_variance, "log_variance", sign=-1.0)
