"""Terminate distributed training when one of its processes is gone or hangs."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Any

import torch.distributed as dist
from ignite.engine import Engine, Events

_logger = logging.getLogger(__name__)
_END = b"end"
EXIT_PEER_LOST = 1


class PeerWatch:
    """Trainer handler: detect within seconds that another process was killed, stopped or cut off, and exit.

    Without it the others wait in their next collective operation, 30 minutes with gloo, for NCCL perhaps for ever. A
    thread in each process tells the others, through the store by which they met, that it lives; it does so whatever
    the process computes, so a long validation is no silence. What is kept is last.pt, which is never half written;
    ``--resume True`` continues from it. torchrun ends what is left of the group,
    also a process that was stopped (SIGSTOP). Does nothing in a training of one process.

    Args:
        silence_s: after how long a silence a process is taken for lost.
        interval_s: between two signs of life.
        leave: called with the exit code when a process is lost.
    """

    def __init__(
        self, silence_s: float = 20.0, interval_s: float = 2.0, leave: Callable[[int], Any] = os._exit
    ) -> None:
        self.silence_s, self.interval_s, self._leave = silence_s, interval_s, leave
        self._ended: threading.Event | None = None
        self._run, self._answered = 0, 0.0

    def attach(self, engine: Engine) -> None:
        """Attach to a trainer."""
        engine.add_event_handler(Events.STARTED, self._start)

    def _start(self, engine: Engine) -> None:
        if self._ended is not None or not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() < 2:
            return
        self._run += 1
        self._ended = threading.Event()
        store = dist.distributed_c10d._get_default_store()  # has no public name
        self._answered = time.monotonic()
        for target, arguments in (
            (self._watch, (store, self._ended, f"ctan_watch_{self._run}")),
            (self._watch_store, (self._ended,)),
        ):
            threading.Thread(target=target, args=arguments, daemon=True).start()

    def close(self) -> None:
        """Tell the other processes that this one has finished, or fails by itself."""
        if self._ended is not None:
            self._ended.set()
            self._ended = None

    def _watch(self, store: Any, ended: threading.Event, prefix: str) -> None:
        own, processes = dist.get_rank(), dist.get_world_size()
        heard = {peer: (b"", time.monotonic()) for peer in range(processes) if peer != own}
        count = 0
        while not ended.wait(self.interval_s):
            count += 1
            try:
                store.set(f"{prefix}_{own}", str(count))
                lost = self._lost(store, prefix, heard)
            except RuntimeError as error:  # the store went with the process that had it
                if not ended.is_set():
                    self._end(f"the processes have no meeting point any more ({str(error).splitlines()[0]})")
                return
            self._answered = time.monotonic()
            if lost:
                names = " and ".join(map(str, lost))
                self._end(f"process {names} has not been heard of for {self.silence_s:g} s: killed, stopped or cut off")
                return
        try:
            store.set(f"{prefix}_{own}", _END)
        except RuntimeError:
            _logger.debug("nobody is left to be told that this process has ended")

    def _watch_store(self, ended: threading.Event) -> None:
        """Exit if the store does not answer: the process that hosts it may be the stopped one."""
        while not ended.wait(self.interval_s):
            if time.monotonic() - self._answered > self.silence_s + self.interval_s:
                self._end(f"the processes' meeting point has not answered for {self.silence_s:g} s")
                return

    def _lost(self, store: Any, prefix: str, heard: dict[int, tuple[bytes, float]]) -> list[int]:
        """Return the processes that have been silent for too long."""
        now = time.monotonic()
        for peer, (last, _) in heard.items():
            key = f"{prefix}_{peer}"
            found = bytes(store.get(key)) if store.check([key]) else b""  # get waits for a key that is not there
            if found != last:
                heard[peer] = found, now
        return [peer for peer, (last, at) in heard.items() if last != _END and now - at > self.silence_s]

    def _end(self, reason: str) -> None:
        _logger.error("%s. Ending; --resume True continues after the last epoch saved.", reason)
        logging.shutdown()
        self._leave(EXIT_PEER_LOST)
