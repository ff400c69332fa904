"""A DICOM node at work: threads that receive, predict, send and clean up, each from what the journal says."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from ctan_monai.data.dicom.read.pseudonyms import Pseudonyms, read_or_make_key
from ctan_monai.errors import ConfigError, cannot_write
from ctan_monai.files.lock import hold, release
from ctan_monai.node import jobs
from ctan_monai.node.incoming import Store, make_private
from ctan_monai.node.journal import Journal
from ctan_monai.node.predict import KEY, Predictor, take_quiet
from ctan_monai.node.receive import Receiver
from ctan_monai.node.retention import remove_old, sweep
from ctan_monai.node.send import Sender
from ctan_monai.node.settings import NodeSettings

if TYPE_CHECKING:
    from ctan_monai.node.stow_receive import StowReceiver

_logger = logging.getLogger(__name__)
_TICK_S = 0.25
_TIDY_S = 600.0
_AFTER_FAULT_S = 5.0


class Node:
    """A node; it works from `start` to `stop`, and goes on where an earlier one with its folder was killed.

    Args:
        settings: of the node.

    Attributes:
        port: TCP port on which it listens.

    Raises:
        ConfigError: another node has the folder.
        DataError: the folder cannot be written, or its journal not be read.
    """

    def __init__(self, settings: NodeSettings) -> None:
        self.settings = settings
        try:
            make_private(settings.folder)
        except OSError as error:
            raise cannot_write(settings.folder, error) from error
        reason = f"another node is running in {settings.folder}."
        hold(settings.folder, ConfigError("folder", reason, "End it, or give this node a folder of its own."))
        self.journal = Journal(settings.folder)
        names = Pseudonyms(read_or_make_key(settings.folder / KEY))
        self.receiver = Receiver(Store(settings, self.journal, names))
        self._stow: StowReceiver | None = None
        self.port = 0
        self._stopping, self._news = threading.Event(), threading.Condition()
        self._threads: list[threading.Thread] = []
        self._predictors: list[Predictor] = []

    def start(self) -> None:
        """Start all threads.

        Raises:
            ConfigError: the address cannot be listened on.
        """
        sweep(self.journal, self.settings)
        left = jobs.recover(self.journal, time.time())
        if left:
            _logger.warning("%d predictions had been interrupted, and start again", left)
        self.port = self.receiver.start()
        if self.settings.stow_port:
            from ctan_monai.node.stow_receive import StowReceiver

            self._stow = StowReceiver(self.receiver.store)
            self._stow.start()
        self._begin("take", self._take)
        self._begin("retention", self._tidy, _TIDY_S)
        for number in range(self.settings.jobs):
            predictor = Predictor(self.journal, self.settings, self._stopping, self._tell)
            self._predictors.append(predictor)
            self._begin(f"predict-{number}", predictor.work)
        for destination in self.settings.destinations.values():
            self._begin(f"send-{destination.name}", Sender(self.journal, self.settings, destination).work)
        _logger.info("%s listens on %s:%d", self.settings.ae_title, self.settings.host, self.port)

    def stop(self) -> None:
        """End all threads; what is not done goes on with the next start."""
        self._stopping.set()
        self._tell()
        self.receiver.stop()
        if self._stow is not None:
            self._stow.stop()
        for thread in self._threads:
            thread.join(30)
        for predictor in self._predictors:
            predictor.close()
        self.journal.close()
        release(self.settings.folder)
        _logger.info("%s has ended", self.settings.ae_title)

    def ask_to_stop(self) -> None:
        """Let `wait` return."""
        self._stopping.set()

    def ended(self) -> list[str]:
        """Return the names of threads that have ended although the node works."""
        return [thread.name for thread in self._threads if not thread.is_alive()]

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until the node is to stop; returns False if the time is over before."""
        return self._stopping.wait(seconds)

    def _take(self) -> bool:
        busy = self.receiver.busy_studies() | (self._stow.busy_studies() if self._stow is not None else set())
        return take_quiet(self.journal, self.settings, busy) > 0

    def _tidy(self) -> bool:
        remove_old(self.receiver.store, time.time())
        return False

    def _begin(self, name: str, work: Callable[[], bool], every_s: float = _TICK_S) -> None:
        thread = threading.Thread(target=self._loop, args=(work, every_s), name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _loop(self, work: Callable[[], bool], every_s: float) -> None:
        """Work until the node stops; a fault of one round is logged, and the next one comes."""
        while not self._stopping.is_set():
            try:
                busy = work()
            except OSError as error:  # a full disk
                _logger.error("it goes on in %.0f s: %s", _AFTER_FAULT_S, error.strerror or type(error).__name__)
                self._stopping.wait(_AFTER_FAULT_S)
                continue
            except Exception as error:  # its text may quote a data set
                where = _place(error)
                _logger.error("an unexpected %s occurred (%s); it goes on", type(error).__name__, where)
                self._stopping.wait(_AFTER_FAULT_S)
                continue
            if busy:
                self._tell()
            else:
                with self._news:
                    self._news.wait(every_s)

    def _tell(self) -> None:
        with self._news:
            self._news.notify_all()


def _place(error: BaseException) -> str:
    """Return file and line of the innermost call of this package."""
    import traceback

    frames = [
        frame for frame in traceback.extract_tb(error.__traceback__) if f"{os.sep}ctan_monai{os.sep}" in frame.filename
    ]
    return f"{os.path.basename(frames[-1].filename)}:{frames[-1].lineno}" if frames else "elsewhere"
