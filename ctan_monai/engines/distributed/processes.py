"""The few things that differ when several processes train together."""

from __future__ import annotations

from typing import Any

import torch.distributed as dist


def rank() -> int:
    """Return this process's number among those that train together; 0 when it is alone."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def wait_for_all() -> None:
    """Return once every process has arrived here."""
    if dist.is_available() and dist.is_initialized():
        dist.barrier()


def of_all_processes(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the entries of every process, in the order of the processes; each of them has to call this."""
    if not (dist.is_available() and dist.is_initialized()):
        return entries
    everyone: list[list[dict[str, Any]]] = [[] for _ in range(dist.get_world_size())]
    dist.all_gather_object(everyone, entries)
    return [entry for part in everyone for entry in part]
