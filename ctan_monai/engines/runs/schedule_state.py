"""Learning-rate schedules that continue, also where a run was made longer."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from torch.optim.lr_scheduler import LambdaLR, LRScheduler

_logger = logging.getLogger(__name__)
_LENGTHS = {"total_steps", "_schedule_phases", "T_max", "total_iters", "t_total", "max_iters", "_milestones"}


def load_schedule(schedule: LRScheduler, saved: Mapping[str, Any], stretch: bool) -> None:
    """Restore a schedule's progress.

    Args:
        schedule: made for the run's present number of epochs.
        saved: its state.
        stretch: the number of epochs has changed: keep the new length instead of the saved one, and set the learning
            rate that the longer schedule has at this point, where it can be told.
    """
    if not stretch:
        schedule.load_state_dict(dict(saved))
        return
    schedule.load_state_dict(_with_new_lengths(saved, schedule.state_dict()))
    rates = _closed_form(schedule)
    if rates is None:
        return
    for group, rate in zip(schedule.optimizer.param_groups, rates, strict=True):
        if group["lr"] != rate:
            _logger.warning("The schedule is stretched to the new --epochs: learning rate %g -> %g.", group["lr"], rate)
        group["lr"] = rate
    schedule._last_lr = list(rates)


def _with_new_lengths(saved: Any, fresh: Any) -> Any:
    if type(saved) is dict and isinstance(fresh, Mapping):
        return {
            key: fresh[key] if key in _LENGTHS and key in fresh else _with_new_lengths(value, fresh.get(key))
            for key, value in saved.items()
        }
    if isinstance(saved, list) and isinstance(fresh, list) and len(saved) == len(fresh):
        return [_with_new_lengths(a, b) for a, b in zip(saved, fresh, strict=True)]
    return saved


def _closed_form(schedule: LRScheduler) -> list[float] | None:
    """Return the learning rates at the schedule's present step, None where torch has no formula for them."""
    if isinstance(schedule, LambdaLR):
        factors = [factor(schedule.last_epoch) for factor in schedule.lr_lambdas]
        return [float(rate * factor) for rate, factor in zip(schedule.base_lrs, factors, strict=True)]
    if hasattr(schedule, "_get_closed_form_lr"):
        return [float(rate) for rate in schedule._get_closed_form_lr()]
    return None
