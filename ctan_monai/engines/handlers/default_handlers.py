"""The default handlers of every bundle's training."""

from __future__ import annotations

from typing import Any, TypeVar

from ignite.engine import Engine
from torch import nn

from ctan_monai.engines.handlers.best_model_handler import BestModel
from ctan_monai.engines.handlers.early_stopping_handler import EarlyStopping, StopTraining
from ctan_monai.engines.handlers.history_handler import History
from ctan_monai.engines.handlers.loss_logging_handler import LossLogger, MetricsLogger
from ctan_monai.engines.handlers.peer_watch_handler import PeerWatch
from ctan_monai.engines.handlers.progress_handler import ProgressBar
from ctan_monai.engines.handlers.seeding_handler import ReseedEachEpoch
from ctan_monai.engines.handlers.signal_handler import StopOnSignal
from ctan_monai.engines.handlers.weighting_handler import WeightingHandler


def default_handlers(
    *,
    title: str,
    seed: int,
    loss: nn.Module,
    evaluator: Engine,
    output_dir: str,
    early_stopping: EarlyStopping | None = None,
) -> list[Any]:
    """Create the handlers of a training besides its schedule and validation, which the config shows.

    Leaving on signals, ending when one of several processes is lost, reseeding, the progress bar, closing the
    weighting's epochs, logging of losses and metrics, early stopping and metrics.json; in that order. Put them after
    the ValidationHandler.

    Args:
        title: of the progress bar.
        seed: of the run.
        loss: the multi-task loss.
        evaluator: the validation's; its `EarlyStopping` and `BestModel` are found among its handlers.
        output_dir: the run's folder, for TensorBoard and metrics.json.
        early_stopping: given by configs that name a `History` of their own, as those before version 0.1 did; then none
            is added here.
    """
    stopping = early_stopping or found_handler(evaluator, EarlyStopping)
    handlers = [
        StopOnSignal(evaluator),
        PeerWatch(),
        ReseedEachEpoch(seed),
        ProgressBar(title),
        WeightingHandler(loss),
        LossLogger(loss, output_dir),
        MetricsLogger(evaluator, output_dir),
        *([] if stopping is None else [StopTraining(stopping)]),
    ]
    own = [] if early_stopping else [History(output_dir, evaluator, found_handler(evaluator, BestModel))]
    return [*handlers, *own]


_Handler = TypeVar("_Handler")


def found_handler(evaluator: Any, kind: type[_Handler]) -> _Handler | None:
    """Return an evaluator's first handler of a class, None if it has none."""
    handlers = getattr(evaluator, "val_handlers", ())
    return next((handler for handler in handlers if isinstance(handler, kind)), None)
