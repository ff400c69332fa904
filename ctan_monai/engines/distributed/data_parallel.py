"""Distributed data parallel training: the components of a bundle's ``multi_gpu_train.yaml``.

A step's batch is divided among the processes, batch normalization, losses and metrics are of the whole batch. So the
number of processes changes the time and not the result, but for the order of sums.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sized
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import Sampler

from ctan_monai.engines.distributed.batch_norm import share_batch_norm
from ctan_monai.engines.distributed.processes import rank, to_channels_last
from ctan_monai.errors import ConfigError, install_excepthook

_logger = logging.getLogger(__name__)
_REMEDY = "Start it by torchrun --standalone --nproc_per_node=2 -m monai.bundle run training ..."


def init_process_group(use_gpu: bool | None = None) -> torch.device:
    """Initialize the process group of a torchrun launch, and return this process's device.

    Errors are told plainly from here on, as by `install_excepthook`.

    Args:
        use_gpu: False: the CPU, with gloo; None: the GPU of this process's number, with NCCL, if there are any.

    Raises:
        ConfigError: the process was not started by torchrun, or the machine has fewer GPUs than processes.
    """
    install_excepthook()
    if "LOCAL_RANK" not in os.environ:
        raise ConfigError("multi_gpu_train.yaml", "this process was not started by torchrun.", _REMEDY)
    number = int(os.environ["LOCAL_RANK"])
    on_gpu = torch.cuda.is_available() if use_gpu is None else use_gpu
    if on_gpu and number >= torch.cuda.device_count():
        found = f"process {number} has no GPU of its own: the machine has {torch.cuda.device_count()}."
        raise ConfigError("--nproc_per_node", found, "Start as many processes as the machine has GPUs.")
    device = torch.device("cuda", number) if on_gpu else torch.device("cpu")
    if on_gpu:
        torch.cuda.set_device(device)
    if not dist.is_initialized():
        dist.init_process_group("nccl" if on_gpu else "gloo")
    if rank() > 0:
        logging.getLogger().setLevel(logging.WARNING)  # what all have to say is said once
    _logger.info("%d processes train together on %s.", dist.get_world_size(), device.type)
    return device


def destroy_process_group() -> None:
    """Destroy the process group at the end of a run."""
    if dist.is_initialized():
        dist.destroy_process_group()


def distribute(network: nn.Module, device: torch.device, channels_last: bool = True) -> nn.Module:
    """Wrap a network in DistributedDataParallel on this process's device.

    Args:
        network: a multi-task network; its batch normalization becomes that of the whole batch.
        device: of this process.
        channels_last: lay out weights so before gradients get their places.
    """
    shared = share_batch_norm(network, device).to(device)
    if channels_last:
        to_channels_last(shared)
    ids = [device] if device.type == "cuda" else None
    return DistributedDataParallel(shared, device_ids=ids, gradient_as_bucket_view=True)


def per_rank_batch_size(batch_size: int) -> int:
    """Return each process's batch size for a step's batch size.

    Raises:
        ConfigError: it cannot be divided.
    """
    processes = dist.get_world_size() if dist.is_initialized() else 1
    if batch_size % processes:
        found = f"{batch_size} samples cannot be divided among {processes} processes."
        raise ConfigError("--batch_size", found, f"Give a multiple of {processes}; it is the batch of a whole step.")
    return batch_size // processes


class ShardedSampler(Sampler[int]):
    """Shard another sampler, whose order is the same in all processes.

    Batch k of all processes together holds the same samples as batch k of a single process.

    Args:
        sampler: the order; seeded by (seed, epoch) alone, as `ReseedEachEpoch` does.
        unit: samples that stay together, such as the slices of a bag.
        even: give all processes equally many, dropping what is left over, as training needs; else each sample goes to
            some process, and where there are fewer than processes to more than one (metrics count a case once).
    """

    def __init__(self, sampler: Any, unit: int = 1, even: bool = True) -> None:
        self.sampler, self.unit, self.even = sampler, int(unit), even

    def __iter__(self) -> Iterator[int]:
        """Yield positions in the list."""
        own, processes = _place()
        order = list(self.sampler)
        units = [order[start : start + self.unit] for start in range(0, len(order), self.unit)]
        for number in self._numbers(len(units), own, processes):
            yield from units[number]

    def __len__(self) -> int:
        """Return the number of this process's samples."""
        own, processes = _place()
        units = -(-len(self.sampler) // self.unit)
        return sum(
            min(self.unit, len(self.sampler) - number * self.unit) for number in self._numbers(units, own, processes)
        )

    def _numbers(self, units: int, own: int, processes: int) -> range:
        if self.even:
            return range(own, units - units % processes, processes)
        return range(own, units, processes) if own < units else range(own % max(units, 1), units, units or 1)


class DistributedSequentialSampler(Sampler[int]):
    """Sample a dataset sequentially, each sample once, divided among the processes.

    Args:
        items: the data set.
    """

    def __init__(self, items: Sized) -> None:
        self._shard = ShardedSampler(range(len(items)), even=False)

    def __iter__(self) -> Iterator[int]:
        """Yield positions in the list."""
        return iter(self._shard)

    def __len__(self) -> int:
        """Return the number of this process's samples."""
        return len(self._shard)


def _place() -> tuple[int, int]:
    return rank(), dist.get_world_size() if dist.is_initialized() else 1
