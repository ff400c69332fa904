"""Processes that work through a list, and end with the one that started them."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import TypeVar

from ctan_monai.errors import DataError

_WATCH_S = 0.5
_Task = TypeVar("_Task")
_Result = TypeVar("_Result")


def work(
    do: Callable[[_Task], _Result], tasks: Sequence[_Task], workers: int, place: Path
) -> Generator[_Result, None, None]:
    """Do tasks in several processes, in any order.

    Args:
        do: a function of a module.
        tasks: its arguments.
        workers: processes; 0 or 1 for none but this one.
        place: named in an error.

    Yields:
        Results as they come.

    Raises:
        DataError: a process was killed.
    """
    count = min(workers, len(tasks))
    if count <= 1:
        yield from map(do, tasks)
        return
    pool = ProcessPoolExecutor(count, initializer=_start, initargs=(os.getpid(),))
    try:
        for future in as_completed([pool.submit(do, task) for task in tasks]):
            yield future.result()
    except BrokenProcessPool as error:
        reason = f"one of {count} processes was killed, perhaps for want of memory."
        raise DataError(place, None, reason, "Start again with fewer workers; what is done stays done.") from error
    finally:
        pool.shutdown(cancel_futures=True)


def _start(parent: int) -> None:
    """Leave Ctrl-C to the parent, which ends the pool in order, and do not outlive it if it is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_WATCH_S)
    os._exit(1)
