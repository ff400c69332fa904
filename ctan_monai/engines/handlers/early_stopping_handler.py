"""Early stopping, task by task where tasks share nothing."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Any

from ignite.engine import Events
from torch import nn

from ctan_monai.engines.distributed.processes import unwrap
from ctan_monai.errors import ConfigError

logger = logging.getLogger(__name__)

ALL = "all"  # the one part of a network whose tasks share parameters


def parts_of(network: nn.Module) -> list[str]:
    """Return what has an epoch and a patience of its own: each independent task, else all together."""
    inner: Any = unwrap(network)
    return [task.name for task in inner.tasks] if inner.independent_tasks else [ALL]


def score_of(part: str, engine: Any) -> float:
    """Return the selection score of a part in an evaluator's metrics, nan if it is not known."""
    score = engine.state.metrics.get("selection" if part == ALL else f"selection_{part}")
    return math.nan if score is None else float(score)


class EarlyStopping:
    """Evaluator handler: count validations since the selection score last improved; `StopTraining` acts on it.

    A network whose tasks share parameters is judged by ``selection``. In a network of independent tasks (STL) each
    task is judged by ``selection_<task>`` alone, as in a training of its own: it stops when its patience is used up
    and stays so, and the training ends when every task has stopped. A score that is not known (nan) does not count.

    Args:
        network: the network that is trained, wrapped or not.
        patience: validations without improvement after which to stop, at least 1; None never stops.
        min_delta: a score must be higher than the best one by more than this.

    Raises:
        ConfigError: patience or min_delta is out of range.
    """

    def __init__(self, network: nn.Module, patience: int | None, min_delta: float = 0.0) -> None:
        if (patience is not None and patience < 1) or min_delta < 0:
            raise ConfigError("early stopping", f"patience {patience}, min_delta {min_delta}.", "Use >= 1 and >= 0.")
        self.network, self.patience, self.min_delta = network, patience, min_delta
        self.best: dict[str, float] = {}
        self.waited: dict[str, int] = {}

    def attach(self, engine: Any) -> None:
        """Attach to an evaluator, at any place in its list of handlers."""
        engine.add_event_handler(Events.COMPLETED, self)

    def __call__(self, engine: Any) -> None:
        """Update the counts by the scores of one validation."""
        for part in parts_of(self.network):
            if not self.has_stopped(part):
                self._judge(part, score_of(part, engine), engine.state.epoch)

    def has_stopped(self, task: str) -> bool:
        """Tell whether a task (of a network of independent tasks) has stopped."""
        return self.patience is not None and self.waited.get(task, 0) >= self.patience

    @property
    def finished(self) -> bool:
        """Whether all tasks have stopped."""
        return all(self.has_stopped(part) for part in parts_of(self.network))

    def state_dict(self) -> dict[str, dict[str, Any]]:
        """Return best scores and the validations since then."""
        return {"best": dict(self.best), "waited": dict(self.waited)}

    def load_state_dict(self, state: Mapping[str, Mapping[str, Any]]) -> None:
        """Restore what `state_dict` returned."""
        self.best, self.waited = dict(state["best"]), dict(state["waited"])

    def _judge(self, part: str, score: float, epoch: int) -> None:
        if math.isnan(score):
            return
        if part not in self.best or score > self.best[part] + self.min_delta:
            self.best[part], self.waited[part] = score, 0
            return
        self.waited[part] = self.waited.get(part, 0) + 1
        if self.has_stopped(part):
            what = "the network" if part == ALL else part
            logger.info("epoch %d: %s has not improved for %d validations and stops", epoch, what, self.patience)


class StopTraining:
    """Trainer handler: terminate the run when `EarlyStopping` has stopped. Put it after the ValidationHandler.

    They are two, because the one belongs to the evaluator and the other to the trainer, which cannot know each other
    in a config.

    Args:
        early_stopping: the evaluator's handler.
    """

    def __init__(self, early_stopping: EarlyStopping) -> None:
        self.early_stopping = early_stopping

    def attach(self, engine: Any) -> None:
        """Attach to a trainer."""
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def __call__(self, engine: Any) -> None:
        """Terminate the run after this epoch if all tasks have stopped."""
        if self.early_stopping.finished:
            engine.terminate()
