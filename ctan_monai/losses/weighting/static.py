"""Equal and static weighting: constant factors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ctan_monai.errors import ConfigError
from ctan_monai.losses.options import check_number
from ctan_monai.losses.weighting.base import Weighting
from ctan_monai.tasks import Task


class StaticWeighting(Weighting):
    """Weight each task by a given factor: lambda_k = w_k.

    The factors come from the config, not from a checkpoint.

    Args:
        tasks: the tasks.
        weights: for each task's name a number, 0 or more.

    Raises:
        ConfigError: a task has no factor, a factor no task, or it is negative.

    >>> import torch
    >>> from ctan_monai.tasks import Classification, Regression
    >>> tasks = [Regression("dose", unit="Gy", scale=80.0), Classification("severe", ["severe"])]
    >>> losses = {"dose": torch.tensor(0.25), "severe": torch.tensor(0.5)}
    >>> StaticWeighting(tasks, weights={"dose": 2.0, "severe": 1.0})(losses, {"dose": True, "severe": True})
    tensor(1.)
    """

    def __init__(self, tasks: Iterable[Task], *, weights: Mapping[str, float] | None = None) -> None:
        super().__init__(tasks)
        given = dict(weights or {})
        if set(given) != set(self.names):
            raise ConfigError(
                "weighting: static.weights",
                f"found weights for {sorted(given)}, expected {sorted(self.names)}.",
                "Give one number for each task's name; in a bundle with --loss#weighting#weights "
                f'"{dict.fromkeys(self.names, 1)}".',
            )
        self._weights = {name: check_number(f"weighting: static.weights.{name}", given[name]) for name in self.names}

    def weights(self) -> dict[str, float]:
        """Return the given factors."""
        return dict(self._weights)


class EqualWeighting(Weighting):
    """Weight all tasks equally: lambda_k = 1.

    Args:
        tasks: the tasks.

    >>> import torch
    >>> from ctan_monai.tasks import Classification, Regression
    >>> tasks = [Regression("dose", unit="Gy", scale=80.0), Classification("severe", ["severe"])]
    >>> losses = {"dose": torch.tensor(0.25), "severe": torch.tensor(0.5)}
    >>> EqualWeighting(tasks)(losses, {"dose": True, "severe": True})
    tensor(0.7500)
    """
