"""Helpers for several processes and for wrapped networks."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DataParallel, DistributedDataParallel

_FORMATS = {4: torch.channels_last, 5: torch.channels_last_3d}


def rank() -> int:
    """Return the rank of this process; 0 without a process group."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def wait_for_all() -> None:
    """Wait for all processes (barrier)."""
    if dist.is_available() and dist.is_initialized():
        dist.barrier()


def of_all_processes(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Gather the entries of all processes in the order of ranks; every process has to call this."""
    if not (dist.is_available() and dist.is_initialized()):
        return entries
    everyone: list[list[dict[str, Any]]] = [[] for _ in range(dist.get_world_size())]
    dist.all_gather_object(everyone, entries)
    return [entry for part in everyone for entry in part]


def to_channels_last(network: nn.Module) -> None:
    """Convert the weights of convolutions to channels-last, in place.

    A convolution computes channels-last if its weight or its input is, so the images need no conversion: converting
    them as well made a ResNet-50's step no faster (bf16, 1 channel, 128 px, CPU).

    Args:
        network: 2D or 3D, may be wrapped or compiled.
    """
    for parameter in unwrap(network).parameters():
        if parameter.ndim in _FORMATS:
            # not contiguous(): kernels of one pixel are so in either format, and would keep strides that the
            # gradient's are not, which DistributedDataParallel complains about
            laid_out = torch.empty_like(parameter.data, memory_format=_FORMATS[parameter.ndim])
            parameter.data = laid_out.copy_(parameter.data)


def unwrap(network: nn.Module) -> nn.Module:
    """Return the network that `torch.compile` and (Distributed)DataParallel wrap, in any order.

    Its parameters are the same objects as those of the wrapped one, its names lack the wrappers' prefixes.
    """
    while True:
        if isinstance(network, (DistributedDataParallel, DataParallel)):
            network = network.module
        elif isinstance(inner := getattr(network, "_orig_mod", None), nn.Module):
            network = inner
        else:
            return network


def without_data_parallel(network: nn.Module) -> nn.Module:
    """Return the network that DistributedDataParallel wraps, still compiled if it was; others unchanged.

    The wrapper communicates in its forward; validation must not depend on that, because processes have different
    numbers of cases, slices and windows.
    """
    return network.module if isinstance(network, DistributedDataParallel) else network
