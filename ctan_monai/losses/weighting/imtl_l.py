"""IMTL-L: learned loss scales that make all scaled losses equal."""

from __future__ import annotations

from collections.abc import Iterable

from ctan_monai.losses.weighting.uncertainty import LearnedScale
from ctan_monai.tasks import Task


class ImpartialLoss(LearnedScale):
    """Sum exp(s_k) L_k - s_k with a learned log-scale s_k per task; lambda_k = exp(s_k).

    The derivative by s_k is exp(s_k) L_k - 1, so that at rest every scaled loss is 1: no task's loss is larger than
    another's. With -s_k for s_k this is this package's uncertainty weighting, to the letter; both are here because they
    are asked for by both names. The parameters must go to the optimizer.

    Args:
        tasks: the tasks.
        initial_log_scale: s_k at the start.

    Raises:
        ConfigError: the option is no number.

    Source: Liu et al. 2021, "Towards impartial multi-task learning", section 3.2 (loss balance).

    >>> import torch
    >>> from ctan_monai.tasks import Classification, Regression
    >>> tasks = [Regression("dose", unit="Gy", scale=80.0), Classification("severe", ["severe"])]
    >>> losses = {"dose": torch.tensor(0.25), "severe": torch.tensor(0.5)}
    >>> total = ImpartialLoss(tasks, initial_log_scale=1.0)(losses, {"dose": True, "severe": True})
    >>> round(total.item(), 4)  # 0.25 e - 1 + 0.5 e - 1
    0.0387
    """

    def __init__(self, tasks: Iterable[Task], *, initial_log_scale: float = 0.0) -> None:
        super().__init__(tasks, "imtl_l.initial_log_scale", initial_log_scale, "log_scale", sign=1.0)
