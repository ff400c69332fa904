"""Samplers of training cases; worker processes that end with the training."""

from __future__ import annotations

import logging
import multiprocessing
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.utils.data import DataLoader, RandomSampler, Sampler, WeightedRandomSampler

from ctan_monai.data.lists.balance import classes_of
from ctan_monai.errors import ConfigError
from ctan_monai.tasks import Classification

logger = logging.getLogger(__name__)
_INTERVAL_S = 1.0


def create_sampler(name: str, items: Sequence[Mapping[str, Any]], task: Classification | None = None) -> Sampler[Any]:
    """Create a sampler for a loader; an epoch has as many samples as there are items.

    It has a generator of its own, which `ReseedEachEpoch` seeds, so that epochs differ and resumed runs do not.

    Args:
        name: 'shuffled': each item once; 'balanced': drawn with replacement such that every class of the task is as
            frequent as any other. Items of unknown class are drawn as often as if they were shuffled.
        items: of the training's datalist.
        task: whose classes 'balanced' balances; they exclude each other.

    Raises:
        ConfigError: the name is unknown, or there is nothing to balance.
    """
    generator = torch.Generator()
    if name == "shuffled":
        return RandomSampler(items, generator=generator)
    if name != "balanced":
        raise ConfigError("sampler", f"{name!r} is unknown.", "Use shuffled or balanced.")
    if task is None:
        raise ConfigError("sampler", "balanced needs a task.", "Name the classification to balance.")
    weights = balanced_weights(classes_of(items, task))
    return WeightedRandomSampler(weights, len(items), replacement=True, generator=generator)


def balanced_weights(labels: Sequence[int | None]) -> list[float]:
    """Return each item's expected number of draws per epoch that balances the classes.

    >>> balanced_weights([0, 0, 0, 1, None])
    [0.6666666666666666, 0.6666666666666666, 0.6666666666666666, 2.0, 1.0]
    """
    counts = Counter(label for label in labels if label is not None)
    known = sum(counts.values())
    return [1.0 if label is None else known / (len(counts) * counts[label]) for label in labels]


class EndWithParent:
    """A loader's ``worker_init_fn`` that ends the worker when its parent process is gone.

    torch's workers look for that by themselves, but remember whose children they are only after they have started:
    one whose parent is killed meanwhile takes the system's first process for it, and stays for ever.

    Args:
        before: a ``worker_init_fn`` to call too.
    """

    def __init__(self, before: Callable[[int], Any] | None = None) -> None:
        self.before = before

    def __call__(self, worker: int) -> None:
        """Start to watch the parent, in a worker."""
        parent = multiprocessing.parent_process()
        if parent is not None and parent.pid is not None:
            threading.Thread(target=_watch, args=(parent.pid,), daemon=True).start()
        if self.before is not None:
            self.before(worker)


def end_workers_with_parent(loader: Any) -> None:
    """Add `EndWithParent` to a `DataLoader` with workers."""
    if isinstance(loader, DataLoader) and loader.num_workers and not isinstance(loader.worker_init_fn, EndWithParent):
        loader.worker_init_fn = EndWithParent(loader.worker_init_fn)


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_INTERVAL_S)
    os._exit(1)
