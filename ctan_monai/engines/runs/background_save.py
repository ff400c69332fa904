"""Save by a thread when an interval has passed, while training goes on."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from ctan_monai.errors import CheckpointError

_logger = logging.getLogger(__name__)


class BackgroundSave:
    """Save the newest of what is offered, in a thread, once an interval has passed since the save before.

    One save is under way at most. What is not saved yet stays in memory, so that a run that ends by an error or a
    signal loses nothing of it.

    Args:
        interval_s: seconds between the starts of two saves.
    """

    def __init__(self, interval_s: float) -> None:
        self._interval_s, self._started_s = interval_s, time.monotonic()
        self._thread = ThreadPoolExecutor(1, "checkpoint")
        self._running: Future[None] | None = None
        self._newest: Callable[[], None] | None = None

    def offer(self, save: Callable[[], None], at_once: bool = False) -> None:
        """Take what saves the present state, and start the thread with it if it is time.

        Args:
            save: must refer to nothing that training changes.
            at_once: return when it is saved.

        Raises:
            CheckpointError: the save before failed.
        """
        self._newest = save
        if at_once:
            self._finish()
        elif self._running is None or self._running.done():
            self._wait()
            if time.monotonic() - self._started_s >= self._interval_s:
                self._started_s, self._newest = time.monotonic(), None
                self._running = self._thread.submit(save)

    def close(self) -> None:
        """Wait for the thread, and save what was not; while an error ends the run, another one is logged.

        Raises:
            CheckpointError: it could not be saved.
        """
        ending = sys.exc_info()[1]
        try:
            self._finish()
        except CheckpointError as error:
            if ending is None:
                raise
            _logger.error("%s", error)

    def _finish(self) -> None:
        self._wait()
        save, self._newest = self._newest, None
        if save is not None:
            save()

    def _wait(self) -> None:
        running, self._running = self._running, None
        if running is not None:
            running.result()
