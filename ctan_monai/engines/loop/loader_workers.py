"""Processes that load data end with the training that started them."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Callable
from typing import Any

from torch.utils.data import DataLoader

_INTERVAL_S = 1.0


class EndWithParent:
    """Loader's ``worker_init_fn``: end the worker when the process that started it is gone.

    torch's workers look for that by themselves, but remember whose children they are only after they have started:
    one whose parent is killed meanwhile takes the system's first process for it, and stays for ever.

    Args:
        before: a ``worker_init_fn`` to call too.
    """

    def __init__(self, before: Callable[[int], Any] | None = None) -> None:
        self.before = before

    def __call__(self, worker: int) -> None:
        """Start to watch, in a worker."""
        parent = multiprocessing.parent_process()
        if parent is not None and parent.pid is not None:
            threading.Thread(target=_watch, args=(parent.pid,), daemon=True).start()
        if self.before is not None:
            self.before(worker)


def end_workers_with_parent(loader: Any) -> None:
    """Let the workers of a `DataLoader` that has any be watched; other loaders stay as they are."""
    if isinstance(loader, DataLoader) and loader.num_workers and not isinstance(loader.worker_init_fn, EndWithParent):
        loader.worker_init_fn = EndWithParent(loader.worker_init_fn)


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_INTERVAL_S)
    os._exit(1)
