"""Random seeds that depend on (seed, epoch, process) alone, so that an epoch can be repeated after a crash."""

from __future__ import annotations

import logging
import os
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.data.utils import set_rnd
from monai.utils import set_determinism
from torch.utils.data import DataLoader

from ctan_monai.data.lists.dataset import SeededDataset
from ctan_monai.engines.distributed.processes import rank
from ctan_monai.engines.runs.options import as_bool, as_whole

_logger = logging.getLogger(__name__)
_CUBLAS = "CUBLAS_WORKSPACE_CONFIG"  # cuBLAS reads it when it is first used
_SHARED = 2**32 - 1  # takes the place of a process's number where all processes must draw the same


def seed_run(seed: int, deterministic_algorithms: bool | str | None = None) -> None:
    """Seed Python, numpy and torch and select deterministic cuDNN kernels; first entry of a config's ``initialize``.

    The same seed, machine and number of threads give the same network. The number of threads is left as it is:
    another one changes the order of sums, hence the last bits. On a GPU a few operations of torch (the gradients of
    resizing among them) add in no fixed order unless ``deterministic_algorithms``; torch then ends a training that
    needs an operation without such a form, and names it (`torch.use_deterministic_algorithms` lists them).

    Args:
        seed: the run's seed.
        deterministic_algorithms: passed to `torch.use_deterministic_algorithms`; None leaves it alone. True also sets
            CUBLAS_WORKSPACE_CONFIG where it is not set, so it must come before CUDA is used.

    Raises:
        ConfigError: the seed is no whole number, or negative; or ``deterministic_algorithms`` is no boolean.
    """
    seed = as_whole(seed, "seed", 0)
    strict = None if deterministic_algorithms is None else as_bool(deterministic_algorithms, "deterministic")
    if strict:
        os.environ.setdefault(_CUBLAS, ":4096:8")
    set_determinism(seed=seed, use_deterministic_algorithms=strict)
    how = ", by deterministic operations only" if strict else ""
    _logger.info("Seed %d, %d threads: repeatable on this machine%s.", seed, torch.get_num_threads(), how)


def seed_for(seed: int, epoch: int, process: int = 0) -> int:
    """Hash a run's seed, an epoch and a process's rank to a seed of 32 bits.

    >>> seed_for(0, 1) == seed_for(0, 1), seed_for(0, 1) == seed_for(1, 0)
    (True, False)
    """
    return int(np.random.SeedSequence([int(seed), epoch, process]).generate_state(1)[0])


class ReseedEachEpoch:
    """Trainer handler: reseed every random generator from (seed, epoch, process) when an epoch starts.

    This is what makes a resumed run equal to an uninterrupted one without keeping the state of a dozen generators:
    the generators of Python, numpy and torch (CPU and GPU), those of loader and sampler, and the dataset
    (``set_epoch``, or MONAI's random transforms where it has none). The loader's iterator is made anew right after,
    also in the first epoch, so that the order of the data depends on the epoch alone.

    Args:
        seed: the run's seed.
    """

    def __init__(self, seed: int) -> None:
        self.seed = int(seed)

    def attach(self, engine: Engine) -> None:
        """Attach to a trainer."""
        engine.add_event_handler(Events.EPOCH_STARTED, self)

    def __call__(self, engine: Engine) -> None:
        """Reseed for the epoch that starts."""
        epoch = engine.state.epoch
        own, shared = seed_for(self.seed, epoch, rank()), seed_for(self.seed, epoch, _SHARED)
        random.seed(own)
        np.random.seed(own)
        torch.manual_seed(own)  # all devices
        loader = engine.state.dataloader
        if isinstance(loader, DataLoader):
            _reseed_loader(loader, epoch, own, shared)
        if loader is not None:
            engine.set_data(loader)  # a new iterator, also where an epoch is shorter than the loader


def _reseed_loader(loader: DataLoader[Any], epoch: int, own: int, shared: int) -> None:
    if loader.generator is not None:
        loader.generator.manual_seed(own)
    for sampler in _samplers(loader):
        if isinstance(generator := getattr(sampler, "generator", None), torch.Generator):
            generator.manual_seed(shared)
        if hasattr(sampler, "set_epoch"):
            sampler.set_epoch(epoch)
    datasets = [dataset for dataset in _chain(loader.dataset) if hasattr(dataset, "set_epoch")]
    for dataset in datasets:
        dataset.set_epoch(epoch)
    if not datasets:
        set_rnd(loader.dataset, seed=own)
    if loader.num_workers and loader.persistent_workers and not isinstance(loader.dataset, SeededDataset):
        loader._iterator = None  # workers that live on hold copies of the dataset, which would never hear of the epoch


def _samplers(loader: DataLoader[Any]) -> Iterator[Any]:
    for sampler in (loader.sampler, loader.batch_sampler):
        yield from (entry for entry in (sampler, getattr(sampler, "sampler", None)) if entry is not None)


def _chain(dataset: Any) -> Iterator[Any]:
    """Yield a dataset and those that it wraps (Subset, MONAI's Dataset around another)."""
    seen: list[int] = []
    while dataset is not None and id(dataset) not in seen:
        seen.append(id(dataset))
        yield dataset
        dataset = getattr(dataset, "dataset", None)
