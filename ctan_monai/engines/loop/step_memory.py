"""The memory that a training step needs, estimated before there is one."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ctan_monai.engines.distributed.processes import unwrap
from ctan_monai.engines.loop.bf16_guard import without_hooks
from ctan_monai.errors import ConfigError

# bytes of what is kept, and tensors of the largest size that live during the backward pass beside it
_EXACT = (1.0, 3)
# glibc's heap holds freed blocks between others that live: measured, as its peak after the second step; blocks that go
# back at once (MALLOC_MMAP_THRESHOLD_=1048576) need no more than _EXACT, and a step takes twice the processor's time
_ON_CPU = (1.35, 16)
_PER_WEIGHT = 3  # its gradient and Adam's two moments
_MEMINFO = Path("/proc/meminfo")
_CGROUP = Path("/sys/fs/cgroup")
_logger = logging.getLogger(__name__)


def step_memory(network: nn.Module, image: Tensor) -> int:
    """Estimate the bytes that a training step in float32 needs beside weights and data, without using them.

    The forward pass runs on the meta device, where tensors have shapes only; what autograd keeps for the backward pass
    is added up, then gradients, Adam's moments, and tensors that come and go. On a CPU it is within a fifth or so of
    the growth of resident memory, for networks of filter groups; on a GPU buffers of its libraries come on top.

    Args:
        network: neither wrapped nor compiled.
        image: (B, C, *S), of which the shape and the device count.
    """
    tensors = [*network.named_parameters(), *network.named_buffers()]
    states = {name: value.detach().to("meta").requires_grad_(value.requires_grad) for name, value in tensors}
    own = {value.untyped_storage()._cdata for value in states.values()}
    kept: dict[int, torch.UntypedStorage] = {}  # storages stay alive, so that their addresses stay theirs

    def keep(value: Tensor) -> Tensor:
        storage = value.untyped_storage()
        if storage._cdata not in own:
            kept[storage._cdata] = storage
        return value

    saving = torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value)
    with torch.random.fork_rng(devices=[]), without_hooks(network), saving:
        functional_call(network, states, (torch.empty_like(image, device="meta", dtype=torch.float32),))
    sizes = [storage.nbytes() for storage in kept.values()]
    weights = sum(value.numel() * value.element_size() for value in states.values() if value.requires_grad)
    spread, in_flight = _ON_CPU if image.device.type == "cpu" else _EXACT
    return int(spread * sum(sizes)) + in_flight * max(sizes, default=0) + _PER_WEIGHT * weights


def free_memory(device: torch.device) -> float:
    """Return the bytes that are free on a device, inf where nothing is known."""
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return float(torch.cuda.mem_get_info(device)[0] + unused)
    if device.type != "cpu" or not _MEMINFO.is_file():
        return float("inf")
    found = re.search(r"^MemAvailable:\s*(\d+) kB", _MEMINFO.read_text(encoding="ascii"), re.MULTILINE)
    limits = [1024.0 * int(found[1])] if found else []
    try:  # of a container
        most, used, parts = (
            (_CGROUP / f"memory.{name}").read_text(encoding="ascii") for name in ("max", "current", "stat")
        )
        cached = re.search(r"^inactive_file (\d+)$", parts, re.MULTILINE)  # pages of files, given back when asked for
        limits.append(float(most) - float(used) + float(cached[1] if cached else 0))
    except (OSError, ValueError):  # there is none
        pass
    return min(limits, default=float("inf"))


def check_step_memory(network: nn.Module, image: Tensor, half: bool = False) -> None:
    """See that a device has the memory for a training step; log what it needs and what is free.

    Args:
        network: a multi-task network, may be wrapped.
        image: (B, C, *S), on the device where training is.
        half: whether activations have half the size, by mixed precision.

    Raises:
        ConfigError: it has not.
    """
    inner: Any = unwrap(network)
    if image.dim() != inner.spatial_dims + 2:  # slices of a volume, some at a time
        return
    needed, free = step_memory(inner, image) / (2 if half else 1), free_memory(image.device)
    size = " x ".join(map(str, image.shape[2:]))
    reason = f"a training step of {inner.method} with {image.shape[0]} images of {size} needs about {needed / 1e9:.1f}"
    reason += f" GB, {free / 1e9:.1f} GB are free on {image.device}."
    if needed <= free:
        _logger.info("Memory: %s", reason)
    else:
        remedy = "Give a smaller --batch_size, smaller images or patches, or --amp True"
        narrow = "; or narrower layers: --network_def#network_options#sfg#layer_scale 0.5, or less"
        raise ConfigError(
            "memory",
            reason,
            f"{remedy}{narrow if inner.method == 'sfg' else ''}.",
        )
