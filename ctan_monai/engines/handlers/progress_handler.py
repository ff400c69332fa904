"""The progress of a run and its remaining time."""

from __future__ import annotations

import logging
import sys
import time
from contextlib import ExitStack
from typing import Any

from ignite.engine import Events
from monai.engines import Trainer

from ctan_monai.engines.distributed.processes import rank

logger = logging.getLogger(__name__)


class ProgressBar:
    """Trainer or evaluator handler: show a progress bar in a terminal, or log progress now and then; process 0 only.

    For a trainer the bar spans the whole run, all epochs and the validations between them, and shows epoch and loss;
    for an evaluator it spans the data set and goes away at its end. The loss is fetched from the device at most once
    in ``interval_s``.

    Args:
        title: what the bar is called; None: 'training' or 'validation'.
        interval_s: seconds between updates of the loss in a terminal.
        log_interval_s: seconds between lines where standard error is no terminal; the first comes after as long.
        terminal: None looks whether standard error is one.
    """

    def __init__(
        self,
        title: str | None = None,
        interval_s: float = 1.0,
        log_interval_s: float = 60.0,
        terminal: bool | None = None,
    ) -> None:
        self.title, self.terminal = title, terminal
        self.interval_s, self.log_interval_s = interval_s, log_interval_s
        self._open = ExitStack()
        self._bar: Any = None
        self._first = self._total = 0
        self._started_s = self._told_s = 0.0

    def attach(self, engine: Any) -> None:
        """Attach to a trainer or an evaluator."""
        if rank() == 0:
            engine.add_event_handler(Events.EPOCH_STARTED, self._start)  # a checkpoint restores at STARTED
            engine.add_event_handler(Events.ITERATION_COMPLETED, self._advance)
            engine.add_event_handler(Events.COMPLETED, self.close)

    def close(self) -> None:
        """Remove the bar."""
        self._open.close()
        self._bar = None
        self._total = 0

    def _start(self, engine: Any) -> None:
        state = engine.state
        training = isinstance(engine, Trainer)
        if not self._total:
            self._total = (state.epoch_length or 0) * (state.max_epochs if training else 1)
            self._first = state.iteration
            self._started_s = self._told_s = time.monotonic()
            if sys.stderr.isatty() if self.terminal is None else self.terminal:
                self._bar = self._make_bar("training" if training else "validation", keep=training)
        if self._bar is not None and training:
            self._bar.set_description(f"{self.title or 'training'}, epoch {state.epoch}/{state.max_epochs}", False)

    def _make_bar(self, kind: str, keep: bool) -> Any:
        from tqdm import tqdm
        from tqdm.contrib.logging import logging_redirect_tqdm

        self._open.enter_context(logging_redirect_tqdm())  # log lines go above the bar, not through it
        # smoothing 0: the estimate comes from the whole run, with validation and checkpoints
        bar = tqdm(total=self._total or None, initial=self._first, desc=self.title or kind, leave=keep, smoothing=0.0)
        return self._open.enter_context(bar)

    def _advance(self, engine: Any) -> None:
        if self._bar is not None:
            self._bar.update()
        now_s = time.monotonic()
        if now_s - self._told_s < (self.log_interval_s if self._bar is None else self.interval_s):
            return
        self._told_s = now_s
        loss = engine.state.output.get("loss") if isinstance(engine.state.output, dict) else None
        if self._bar is None:
            self._log(engine.state, now_s, loss)
        elif loss is not None:
            self._bar.set_postfix(loss=f"{float(loss):.4g}")

    def _log(self, state: Any, now_s: float, loss: Any) -> None:
        done, rest = state.iteration - self._first, max(self._total - state.iteration, 0)
        left_s = (now_s - self._started_s) / done * rest
        logger.info(
            "%sepoch %d, iteration %d of %d%s, about %s left",
            f"{self.title}: " if self.title else "",
            state.epoch,
            state.iteration,
            self._total,
            "" if loss is None else f", loss {float(loss):.4g}",
            _duration(left_s),
        )


def _duration(seconds: float) -> str:
    """Format a duration.

    >>> _duration(41), _duration(125), _duration(7500)
    ('41 s', '2 min', '2 h 5 min')
    """
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
