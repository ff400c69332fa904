"""Differentiable sums over all processes; gradients equal those of one process with the whole batch.

Every process computes the loss of the *global* batch from all-reduced sums, so that its value (in the log, in a
weighting, in an uncertainty's gradient) is the same bits everywhere. A process's own part of such a sum gets its
gradient times the number of processes; DistributedDataParallel then averages gradients over processes, which leaves
their sum: exactly the gradient that one process with the concatenated batch would have found.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def all_reduced(part: Tensor) -> Tensor:
    """All-reduce a copy of a tensor by summation, without a gradient."""
    total = part.clone(memory_format=torch.contiguous_format)
    dist.all_reduce(total)
    return total


class SumOverRanks(torch.autograd.Function):
    """All-reduce by summation; the gradient is passed to the process's own part, times the world size."""

    @staticmethod
    def forward(ctx: Any, part: Tensor) -> Tensor:
        """Sum the tensors of all processes."""
        return all_reduced(part)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        """Undo the division by the number of processes in DistributedDataParallel's average."""
        return grads[0] * dist.get_world_size()


def rank_count() -> int:
    """Count the processes that share a batch; 1 while gradients are off.

    Validation runs with gradients off and with different numbers of batches per process, where a collective call
    would wait for ever.
    """
    if dist.is_available() and dist.is_initialized() and torch.is_grad_enabled():
        return dist.get_world_size()
    return 1


def sum_over_ranks(part: Tensor) -> Tensor:
    """Sum a tensor over all processes, differentiably (identity for one process).

    Every process must call it, in the same order, whether it has labels or not.
    """
    if rank_count() == 1:
        return part
    total: Tensor = SumOverRanks.apply(part)  # type: ignore[no-untyped-call]  # torch leaves `apply` untyped
    return total


def mean_or_zero(total: Tensor, count: Tensor) -> Tensor:
    """Divide sums by counts; where a count is 0, return a 0 that is part of the graph.

    >>> mean_or_zero(torch.tensor([6.0, 0.0]), torch.tensor([4.0, 0.0]))
    tensor([1.5000, 0.0000])
    """
    return total / torch.where(count > 0, count, 1)


def distributed_mean(total: Tensor, count: Tensor) -> Tensor:
    """Compute the mean over the global batch from each process's sum and count: the loss to call `backward` on.

    Its value is the same on every process. After DistributedDataParallel's averaging its gradient is that of one
    process with the concatenated batch, also where processes hold different numbers of labels or none. Where no
    process holds any it is a 0 with a graph and a gradient of 0, never NaN.

    Args:
        total: sum of per-unit losses on this process, any shape.
        count: number of units on this process, same shape.

    Returns:
        Total over count of all processes, same shape.
    """
    totals, counts = sum_over_ranks(torch.stack([total, count.to(total)]))
    return mean_or_zero(totals, counts)
