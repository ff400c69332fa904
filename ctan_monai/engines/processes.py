"""The few things that differ when several processes train together."""

from __future__ import annotations

import torch.distributed as dist


def rank() -> int:
    """Return this process's number among those that train together; 0 when it is alone."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def wait_for_all() -> None:
    """Return once every process has arrived here."""
    if dist.is_available() and dist.is_initialized():
        dist.barrier()
