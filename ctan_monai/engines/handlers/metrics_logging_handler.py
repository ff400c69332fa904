"""Validation's figures, on the console and in TensorBoard."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

from ignite.engine import Events

from ctan_monai.engines.distributed.processes import rank
from ctan_monai.engines.handlers.tensorboard import ScalarWriter

logger = logging.getLogger(__name__)


class MetricsLogger:
    """Trainer handler: log the evaluator's metrics after each validation, in process 0.

    One line on the console with the selection scores and the metrics named in ``show``; everything in TensorBoard,
    ``<output_dir>/tensorboard/validation``, under ``epoch/``.

    Args:
        evaluator: the validation's evaluator.
        output_dir: None for the console only.
        show: names of metrics that the console shows beside the selection scores.
    """

    def __init__(self, evaluator: Any, output_dir: str | Path | None = None, show: tuple[str, ...] = ()) -> None:
        self.evaluator, self.show = evaluator, tuple(show)
        folder = None if output_dir is None else Path(str(output_dir)) / "tensorboard" / "validation"
        self._writer = ScalarWriter(folder)

    def attach(self, engine: Any) -> None:
        """Attach to a trainer."""
        if rank() == 0:
            self.evaluator.add_event_handler(Events.COMPLETED, self._report)  # when all metrics are computed
            engine.add_event_handler(Events.COMPLETED, self.close)

    def close(self) -> None:
        """Close the TensorBoard file."""
        self._writer.close()

    def _report(self, evaluator: Any) -> None:
        metrics = {name: float(value) for name, value in evaluator.state.metrics.items()}
        self._writer.write({f"epoch/{name}": value for name, value in metrics.items()}, evaluator.state.epoch)
        shown = [name for name in metrics if name.startswith("selection") or name in self.show]
        text = [f"{name} {'unknown' if math.isnan(metrics[name]) else format(metrics[name], '.4g')}" for name in shown]
        logger.info("epoch %d, validation: %s", evaluator.state.epoch, " | ".join(text))
