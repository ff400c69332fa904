"""The handlers that the training of every bundle has."""

from __future__ import annotations

from typing import Any

from ignite.engine import Engine
from torch import nn

from ctan_monai.engines.handlers.early_stopping_handler import EarlyStopping, StopTraining
from ctan_monai.engines.handlers.loss_logging_handler import LossLogger
from ctan_monai.engines.handlers.metrics_logging_handler import MetricsLogger
from ctan_monai.engines.handlers.peer_watch_handler import PeerWatch
from ctan_monai.engines.handlers.progress_handler import ProgressBar
from ctan_monai.engines.handlers.seeding_handler import ReseedEachEpoch
from ctan_monai.engines.handlers.signal_handler import StopOnSignal
from ctan_monai.engines.handlers.weighting_handler import WeightingHandler


def default_handlers(
    *, title: str, seed: int, loss: nn.Module, evaluator: Engine, output_dir: str, early_stopping: EarlyStopping
) -> list[Any]:
    """Return what a training needs beside its schedule and its validation, which a config shows.

    Leaving on signals, ending when one of several processes is lost, reseeding, the progress bar, closing the
    weighting's epochs, logging of losses and metrics, and early stopping; in that order. Put them after the
    ValidationHandler.

    Args:
        title: of the progress bar.
        seed: of the run.
        loss: the multi-task loss.
        evaluator: the validation's.
        output_dir: the run's folder, for TensorBoard.
        early_stopping: decides when to stop.
    """
    return [
        StopOnSignal(evaluator),
        PeerWatch(),
        ReseedEachEpoch(seed),
        ProgressBar(title),
        WeightingHandler(loss),
        LossLogger(loss, output_dir),
        MetricsLogger(evaluator, output_dir),
        StopTraining(early_stopping),
    ]
