"""The history of a run's epochs in metrics.json."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events
from torch import nn

from ctan_monai.engines.distributed.processes import rank
from ctan_monai.engines.handlers.best_model_handler import BestModel
from ctan_monai.engines.handlers.grouping_record import GROUPINGS_FILE, grouping_record, groupings_csv
from ctan_monai.engines.handlers.handler_order import attach_after_others
from ctan_monai.engines.handlers.loss_logging_handler import RunningMeans, penalty_terms
from ctan_monai.engines.runs.manifest import METRICS_FILE
from ctan_monai.files.json_files import write_json, write_text

_TOTAL = "loss"


class History:
    """Trainer handler: write ``<output_dir>/metrics.json`` after each epoch.

    ``{"best": {"all": {"epoch", "score"}}, "epochs": [{"epoch", "seconds", "learning_rate", "train", "weights",
    "validation"}]}``: ``train`` has the mean training loss (``loss``) and each task's unweighted one over the steps
    that had a label of it, and the terms of the network's penalty (``penalty_<name>``); ``weights`` and
    ``learning_rate`` are those of the epoch's last step, and ``validation`` has the evaluator's metrics if it ran in
    this epoch. An unknown number is null. A network of filter groups has ``groupings`` too, see `grouping_record`, and
    ``groupings.csv`` beside the file.

    Args:
        output_dir: the run's folder.
        evaluator: the validation's evaluator.
        best: gives the best epoch.
    """

    def __init__(self, output_dir: str | Path, evaluator: Engine | None = None, best: BestModel | None = None) -> None:
        self.path = Path(str(output_dir)) / METRICS_FILE
        self.epochs: list[dict[str, Any]] = []
        self.at_once = True  # False: the checkpoint writes the file, together with its own
        self._evaluator, self._best = evaluator, best
        self._network: nn.Module | None = None
        self._means = RunningMeans()
        self._last_step: dict[str, Any] = {}
        self._started_s = 0.0

    def attach(self, engine: Engine) -> None:
        """Attach to a trainer; the epoch is written after validation, at any place in the list of handlers."""
        self._network = getattr(engine, "network", None)
        engine.add_event_handler(Events.EPOCH_STARTED, self._start_epoch)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._add_step)
        attach_after_others(engine, self._end_epoch, Events.STARTED)

    def state_dict(self) -> dict[str, Any]:
        """Return all epochs so far."""
        return {"epochs": self.epochs}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.epochs = [dict(epoch) for epoch in state["epochs"]]

    def file_writer(self) -> Callable[[], None]:
        """Return what writes the file as it is to be now, whenever and in whatever thread it is called."""
        content = {"best": {} if self._best is None else self._best.summary(), "epochs": list(self.epochs)}
        groupings = "" if self._network is None else groupings_csv(self._network)

        def write() -> None:
            write_json(content, self.path)
            if groupings:
                write_text(groupings, self.path.with_name(GROUPINGS_FILE))

        return write

    def _start_epoch(self, engine: Engine) -> None:
        self._means, self._last_step = RunningMeans(), {}
        self._started_s = time.monotonic()

    def _add_step(self, engine: Any) -> None:
        loss = engine.loss_function
        losses = {**getattr(loss, "latest", {}), **penalty_terms(engine), _TOTAL: engine.state.output[_TOTAL]}
        self._means.add(losses, getattr(loss, "observed", {}))
        if engine.state.epoch_length and engine.state.iteration % engine.state.epoch_length == 0:
            weighting = getattr(loss, "weighting", None)  # now: at the epoch's end it may be ahead
            self._last_step = {
                "learning_rate": float(engine.optimizer.param_groups[0]["lr"]),
                "weights": {} if weighting is None else weighting.weights(),
            }

    def _end_epoch(self, engine: Any) -> None:
        epoch = engine.state.epoch
        record = {"epoch": epoch, "seconds": round(time.monotonic() - self._started_s, 3), **self._last_step}
        record["train"] = self._means.take()
        evaluator = self._evaluator
        if evaluator is not None and evaluator.state.epoch == epoch:
            record["validation"] = {name: _number(value) for name, value in evaluator.state.metrics.items()}
        if groupings := grouping_record(engine.network):
            record["groupings"] = groupings
        self.epochs.append(record)
        if rank() == 0 and self.at_once:
            self.file_writer()()


def _number(value: Any) -> float | str | None:
    try:
        return None if value is None else float(value)
    except (TypeError, ValueError):
        return str(value)
