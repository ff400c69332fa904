"""The network inside its wrappers."""

from __future__ import annotations

from torch import nn
from torch.nn.parallel import DataParallel, DistributedDataParallel


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
    """Return what DistributedDataParallel wraps, still compiled if it was; other networks as they are.

    The wrapper communicates in its forward; validation must not depend on that, because processes have different
    numbers of cases, slices and windows.
    """
    return network.module if isinstance(network, DistributedDataParallel) else network
