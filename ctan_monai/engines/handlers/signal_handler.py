"""Stop a training on SIGTERM and SIGINT between two steps, with the exit code that the shell expects."""

from __future__ import annotations

import logging
import os
import signal
import threading
from types import FrameType
from typing import Any

from ignite.engine import Engine, Events

_logger = logging.getLogger(__name__)
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopOnSignal:
    """Trainer handler: finish the step, then exit with 128 + the signal's number (143 for TERM, 130 for Ctrl-C).

    What is kept is last.pt of the last completed epoch, which is never half written; the steps of the epoch that was
    under way are lost and will be repeated, to the bit, by ``--resume True``. A second signal ends the process at
    once. Put it first among the trainer's handlers, so that it sees an exception before others log it.

    Args:
        evaluator: validation is left between two of its steps as well.
    """

    def __init__(self, evaluator: Engine | None = None) -> None:
        self._evaluator = evaluator
        self._received: int | None = None
        self._previous: dict[int, Any] = {}
        self._process = os.getpid()

    def attach(self, engine: Engine) -> None:
        """Attach to a trainer."""
        engine.add_event_handler(Events.STARTED, self._install)
        for event in (Events.EPOCH_STARTED, Events.ITERATION_COMPLETED):
            engine.add_event_handler(event, self._leave_if_asked)
        engine.add_event_handler(Events.COMPLETED, self._end)
        engine.add_event_handler(Events.EXCEPTION_RAISED, self._after_exception)
        if self._evaluator is not None:
            self._evaluator.add_event_handler(Events.ITERATION_COMPLETED, self._leave_if_asked)

    def _install(self, engine: Engine) -> None:
        self._received, self._process = None, os.getpid()
        if threading.current_thread() is not threading.main_thread():
            _logger.debug("Not in the main thread: signals are left to the program.")
            return
        self._previous = {number: signal.signal(number, self._receive) for number in _SIGNALS}

    def _receive(self, number: int, frame: FrameType | None) -> None:
        signal.signal(number, self._previous.get(number) or signal.SIG_DFL)
        if os.getpid() != self._process:  # a loader's worker, forked with this handler
            os.kill(os.getpid(), number)
            return
        self._received = number
        _logger.warning("%s: ending after this step; again to end at once.", signal.Signals(number).name)

    def _leave_if_asked(self, engine: Engine) -> None:
        if self._received is not None:
            self._leave()

    def _leave(self) -> None:
        number = self._received or 0
        self.close()
        name = signal.Signals(number).name
        _logger.warning("Ended by %s; --resume True continues after the last complete epoch.", name)
        raise SystemExit(128 + number)

    def _end(self, engine: Engine) -> None:
        if self._received is not None:
            self._leave()
        self.close()

    def _after_exception(self, engine: Engine, error: BaseException) -> None:
        """Exit with the signal's code also if it reached the loader's workers first and broke the loader."""
        self.close()
        if self._received is not None and not isinstance(error, SystemExit):
            raise SystemExit(128 + self._received) from error
        raise error

    def close(self) -> None:
        """Restore the previous signal handlers."""
        for number, previous in self._previous.items():
            signal.signal(number, previous or signal.SIG_DFL)
        self._previous = {}
