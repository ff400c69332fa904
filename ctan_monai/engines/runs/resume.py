"""Resume a run from its newest readable checkpoint."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from ctan_monai.engines.runs.run_record import differences
from ctan_monai.engines.runs.torch_file import load_checked
from ctan_monai.errors import CheckpointError

_logger = logging.getLogger(__name__)
LAST_FILE, PREVIOUS_FILE = "last.pt", "last.prev.pt"
_LENGTHS = {"total_steps", "_schedule_phases", "T_max", "total_iters", "t_total", "max_iters", "_milestones"}
_IMPLEMENTATION = ("fused", "foreach", "capturable", "differentiable")  # how an optimizer computes its steps


def has_checkpoint(output_dir: str | Path) -> bool:
    """Tell whether a run's folder has a checkpoint."""
    return any((Path(str(output_dir)) / name).is_file() for name in (LAST_FILE, PREVIOUS_FILE))


def newest_checkpoint(output_dir: str | Path) -> tuple[Path, dict[str, Any]] | None:
    """Read the newest checkpoint that is intact.

    Returns:
        Its file and content; None where the folder has no checkpoint at all.

    Raises:
        CheckpointError: there are checkpoints, but none can be read.
    """
    paths = [path for name in (LAST_FILE, PREVIOUS_FILE) if (path := Path(str(output_dir)) / name).is_file()]
    if not paths:
        return None
    for path, older in zip(paths, [*paths[1:], None], strict=True):
        try:
            return path, load_checked(path)
        except CheckpointError as error:
            if older is None:
                raise
            _logger.warning("%s: %s Falling back to %s, of an earlier epoch.", path, error.reason, older.name)
    return None


def check_same_run(path: Path, saved: Mapping[str, Any], current: Mapping[str, Any]) -> None:
    """Check that a run is resumed with the same network, tasks and data.

    Args:
        path: the checkpoint's file.
        saved: ``run`` and ``data`` of the checkpoint.
        current: the same of this run.

    Raises:
        CheckpointError: they differ; the message shows how.
    """
    if found := differences(saved, current):
        raise CheckpointError(
            path,
            "it belongs to another run: " + "; ".join(found) + ".",
            "Give the settings of that run, or another --output_dir, or leave out --resume True to start afresh "
            "(the old folder is kept under another name).",
        )


@dataclass(frozen=True)
class Progress:
    """The progress of an interrupted run.

    Args:
        epoch: completed epochs.
        max_epochs: epochs that it was to have.
        stopped_early: it had ended before that by itself.
        scaler: state of the gradient scaler, empty if there was none.
    """

    epoch: int
    max_epochs: int
    stopped_early: bool
    scaler: Mapping[str, Any]

    def leaves_nothing_to_do(self, max_epochs: int) -> bool:
        """Tell whether a run of ``max_epochs`` epochs is complete."""
        return self.epoch >= max_epochs or (self.stopped_early and max_epochs <= self.max_epochs)


class ContinueAt:
    """Trainer handler: set epoch and iteration when a resumed run starts.

    ignite resets both at the start of a run that is already complete, and MONAI makes its gradient scaler there;
    so it has to happen once more when the run has started. A complete run then ends at once.

    Args:
        progress: how far the run had come.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress: Progress | None = progress

    def attach(self, engine: Engine) -> None:
        """Attach to a trainer, and log where it resumes."""
        progress: Any = self._progress
        engine.state.epoch = min(progress.epoch, engine.state.max_epochs)
        engine.add_event_handler(Events.STARTED, self)
        if progress.leaves_nothing_to_do(engine.state.max_epochs):
            how = "stopped early" if progress.stopped_early else "is complete"
            remedy = "A higher --epochs continues it."
            _logger.warning("The run %s after epoch %d: nothing to train. %s", how, progress.epoch, remedy)
        else:
            _logger.info("Continuing after epoch %d of %d.", progress.epoch, engine.state.max_epochs)

    def __call__(self, engine: Engine) -> None:
        """Set epoch and iteration, once: a later run of the same trainer is not affected."""
        progress, self._progress = self._progress, None
        if progress is None:
            return
        engine.state.epoch = progress.epoch
        engine.state.iteration = progress.epoch * (engine.state.epoch_length or 0)
        scaler = getattr(engine, "scaler", None)
        if scaler is not None and progress.scaler:
            scaler.load_state_dict(dict(progress.scaler))
        if progress.leaves_nothing_to_do(engine.state.max_epochs):
            engine.terminate()


def load_optimizer(optimizer: Optimizer, saved: Mapping[str, Any]) -> None:
    """Restore an optimizer's state, which may be of another device or implementation (fused or not).

    Raises:
        ValueError: the state is of other parameters.
    """
    groups, now = list(saved["param_groups"]), optimizer.param_groups
    if len(groups) == len(now):  # otherwise torch says so
        kept = [{key: group[key] for key in _IMPLEMENTATION if key in group} for group in now]
        groups = [{**group, **own} for group, own in zip(groups, kept, strict=True)]
    optimizer.load_state_dict({**saved, "param_groups": groups})


def load_schedule(schedule: LRScheduler, saved: Mapping[str, Any], stretch: bool) -> None:
    """Restore the state of a learning rate schedule.

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
    """Return the learning rates at the schedule's current step, None where torch has no closed form."""
    if isinstance(schedule, LambdaLR):
        factors = [factor(schedule.last_epoch) for factor in schedule.lr_lambdas]
        return [float(rate * factor) for rate, factor in zip(schedule.base_lrs, factors, strict=True)]
    if hasattr(schedule, "_get_closed_form_lr"):
        return [float(rate) for rate in schedule._get_closed_form_lr()]
    return None
