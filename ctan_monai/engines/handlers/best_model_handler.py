"""Keep the best network of a run in model.pt; for independent tasks, each task's own best epoch."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from ignite.engine import Engine, Events
from torch import nn

from ctan_monai.engines.distributed.processes import rank, unwrap
from ctan_monai.engines.handlers.early_stopping_handler import ALL, parts_of, score_of
from ctan_monai.engines.runs.run_record import MODEL_FILE
from ctan_monai.engines.runs.torch_file import save_atomic
from ctan_monai.errors import ConfigError

_logger = logging.getLogger(__name__)


class Stopping(Protocol):
    """Protocol of what knows which independent tasks have stopped early."""

    def has_stopped(self, task: str) -> bool:
        """Tell whether a task is no longer trained."""


class BestModel:
    """Evaluator handler: save the weights of the epoch with the highest selection score.

    A network whose tasks share parameters is judged by ``engine.state.metrics["selection"]`` (the mean over tasks)
    and kept as a whole. In a network of independent tasks (STL) each task is judged by ``selection_<task>``, and
    model.pt joins the parameters and buffers of each task's own best epoch.

    A score must be higher than the best so far. Where none has been known yet (no validation labels, NaN) the
    newest weights are kept. The weights travel in `state_dict`, so that a resumed run never depends on a model.pt
    that belongs to an epoch which was lost.

    Args:
        network: the network that is trained, wrapped or not.
        output_dir: model.pt is written here.
        stopped: tells which independent tasks get no more updates because they stopped early.
    """

    def __init__(self, network: nn.Module, output_dir: str | Path, stopped: Stopping | None = None) -> None:
        self._network, self._stopped = network, stopped
        self.path = Path(str(output_dir)) / MODEL_FILE
        self.at_once = True  # False: the checkpoint writes the file, together with its own
        self.best: dict[str, dict[str, Any]] = {}
        self._weights: dict[str, torch.Tensor] = {}
        self._written: dict[str, dict[str, Any]] = {}  # the epochs and scores of the weights in the file

    def attach(self, engine: Engine) -> None:
        """Attach to an evaluator, after everything that computes its metrics."""
        engine.add_event_handler(Events.COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Update the best weights if the evaluator's scores improved, and write model.pt."""
        improved = [part for part in parts_of(self._network) if self._improves(part, engine)]
        if not improved or rank() != 0:
            return
        self._weights = {
            key: tensor if self._part_of(key) in improved else self._weights.get(key, tensor)
            for key, tensor in self._current().items()
        }
        if self.at_once:
            self.file_writer()()

    def summary(self) -> dict[str, dict[str, Any]]:
        """Return epoch and score of the best network ('all'), or of each independent task."""
        return {part: dict(found) for part, found in self.best.items()}

    def state_dict(self) -> dict[str, Any]:
        """Return epochs, scores and weights."""
        return {"best": self.summary(), "weights": dict(self._weights)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned, and make model.pt agree with it."""
        self.best = {part: dict(found) for part, found in state["best"].items()}
        self._weights = dict(state["weights"])
        if self._weights and rank() == 0:
            self.file_writer()()

    def file_writer(self) -> Callable[[], None]:
        """Return what writes the file as it is to be now, whenever and in whatever thread it is called."""
        best, weights = self.summary(), dict(self._weights)  # tensors of their own, which nothing changes

        def write() -> None:
            if best != self._written:
                save_atomic(weights, self.path)
                self._written = best

        return write

    def _current(self) -> dict[str, torch.Tensor]:
        """Copy the network's parameters and buffers to the CPU."""
        return {key: tensor.detach().cpu().clone() for key, tensor in unwrap(self._network).state_dict().items()}

    def _improves(self, part: str, engine: Engine) -> bool:
        if part != ALL and self._stopped is not None and self._stopped.has_stopped(part):
            return False
        score = score_of(part, engine)
        before = self.best.get(part, {"score": math.nan})["score"]
        if not (math.isnan(before) or score > before):
            return False
        self.best[part] = {"epoch": int(engine.state.epoch), "score": score}
        name = "network" if part == ALL else part
        _logger.info("Epoch %d: best %s so far, selection score %.4f.", engine.state.epoch, name, score)
        return True

    def _part_of(self, key: str) -> str:
        network: Any = unwrap(self._network)
        if not network.independent_tasks:
            return ALL
        owners = [task.name for task in network.tasks if network.belongs_to(key, task.name)]
        if len(owners) != 1:
            raise ConfigError(
                "network",
                f"{key} belongs to {owners or 'no task'}, but {type(network).__name__} calls its tasks independent.",
                "Give every parameter and buffer one task, or set independent_tasks = False.",
            )
        return str(owners[0])
