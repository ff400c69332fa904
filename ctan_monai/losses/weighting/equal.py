"""Equal weighting: the plain sum of losses."""

from __future__ import annotations

from ctan_monai.losses.weighting.base import Weighting


class EqualWeighting(Weighting):
    """Every task counts once: lambda_k = 1.

    Args:
        tasks: the tasks.

    >>> import torch
    >>> from ctan_monai.tasks import Classification, Regression
    >>> tasks = [Regression("dose", unit="Gy", scale=80.0), Classification("severe", ["severe"])]
    >>> losses = {"dose": torch.tensor(0.25), "severe": torch.tensor(0.5)}
    >>> EqualWeighting(tasks)(losses, {"dose": True, "severe": True})
    tensor(0.7500)
    """
