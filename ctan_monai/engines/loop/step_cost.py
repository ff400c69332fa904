"""The cost of a training step: parameters, operations, seconds, GPU memory."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ctan_monai.engines.distributed.processes import to_channels_last
from ctan_monai.engines.loop.bf16_guard import choose_precision

_WARM_UP, _TIMED = 2, 5


def step_cost(
    network: nn.Module,
    loss_function: nn.Module,
    optimizer: torch.optim.Optimizer,
    image: Tensor,
    targets: Mapping[str, Tensor],
    amp: bool | str = False,
) -> dict[str, float | None]:
    """Measure a few training steps on one batch; the weights change.

    Args:
        network: on its device.
        loss_function: (outputs dict, targets dict) -> scalar.
        optimizer: of the network's parameters.
        image: (B, C, *S), on the network's device.
        targets: flat dictionary of the batch.
        amp: mixed precision, as in training.

    Returns:
        ``parameters``; ``gflops``, those of a forward pass for one image, 2 for each multiply-add; ``batch``, its
        images; ``step_s``, the fastest of five steps after two, as other programs only ever make one slower;
        ``inference_s``, that of a forward pass; ``gpu_memory_mb``, the most that the steps held, None on the CPU.
    """
    device = image.device
    precision = choose_precision(device, amp, "auto")
    to_channels_last(network)
    loss_function.to(device)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with precision.autocast():
            outputs = network(image)
        torch.autograd.backward(loss_function(outputs, targets))
        optimizer.step()

    def infer() -> None:
        with torch.inference_mode(), precision.autocast():
            network(image)

    on_gpu = device.type == "cuda"
    if on_gpu:
        torch.cuda.reset_peak_memory_stats(device)
    network.train()
    step_s = _fastest_s(step, device)
    memory_mb = torch.cuda.max_memory_allocated(device) / 2**20 if on_gpu else None
    network.eval()
    return {
        "parameters": float(sum(value.numel() for value in network.parameters())),
        "gflops": _gflops(network, image[:1]),
        "batch": float(len(image)),
        "step_s": step_s,
        "inference_s": _fastest_s(infer, device),
        "gpu_memory_mb": memory_mb,
    }


def _gflops(network: nn.Module, image: Tensor) -> float:
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        network(image)
    return counter.get_total_flops() / 1e9


def _fastest_s(do: Any, device: torch.device) -> float:
    seconds = []
    for _ in range(_WARM_UP + _TIMED):
        start = time.perf_counter()
        do()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - start)
    return min(seconds[_WARM_UP:])
