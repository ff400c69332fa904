"""Compare convolutions in bfloat16 and float32 and print differences; a program of its own, which may crash.

It imports torch alone and is run by path (see `bf16_check`), so that it starts in about a second. It reads from
standard input a JSON list of convolutions, the fields of `bf16_check.Convolution`, and prints for each of them, in
order, one line: a JSON text that says what is wrong, empty where nothing is. On Linux each is tried in a fork of its
own: where kernels crash, torch is imported once, not once for each convolution.
"""

from __future__ import annotations

import ctypes
import json
import multiprocessing
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.fx.experimental.symbolic_shapes  # autograd imports it at its first backward: once here, not in each fork
from torch import Tensor

# A result in bfloat16 carries the rounding of its last step, 2^-9, and where no oneDNN kernel serves, that of its sum
# too: up to 0.009 in the norm and 0.2 for a single value were measured on right results (ONEDNN_MAX_CPU_ISA=AVX2,
# 343 taps). What is wrong is off by 0.1 to infinity in the norm.
_NORM, _VALUE = 0.02, 0.5
_PATIENCE_S = 600  # for one convolution, as `bf16_check` has for a process
_FORKS = sys.platform.startswith("linux") and hasattr(os, "fork")


def problem(convolution: Mapping[str, Any]) -> str:
    """Compare one convolution, and its gradients if it trains, with float32.

    Args:
        convolution: function, image, weight, bias, options, channels_last, backward; see `bf16_check.Convolution`.

    Returns:
        What is wrong, empty if nothing is.
    """
    wanted = _results(convolution, torch.float32)
    # twice: what reads memory that was never written is right where that memory happens to hold zeros
    for found in (_results(convolution, torch.bfloat16) for _ in range(2)):
        for name, value in found.items():
            error = (value - wanted[name]).abs()
            size = wanted[name].square().mean().sqrt()
            norm = float(error.norm() / wanted[name].norm().clamp(min=1e-30))
            most = float((error / (size + wanted[name].abs()).clamp(min=1e-30)).max())
            if not (norm <= _NORM and most <= _VALUE):  # not: nan is wrong too
                return f"{name} (relative error {norm:.2g})"
    return ""


def _results(convolution: Mapping[str, Any], dtype: torch.dtype) -> dict[str, Tensor]:
    """Return output and gradients in float32 for inputs that bfloat16 represents exactly."""
    generator = torch.Generator().manual_seed(0)
    last = convolution["channels_last"]

    def draw(shape: list[int], channels_last: bool = False) -> Tensor:
        value = torch.randn(shape, generator=generator).bfloat16().to(dtype)
        formats = {4: torch.channels_last, 5: torch.channels_last_3d}
        return value.contiguous(memory_format=formats[len(shape)]) if channels_last else value

    image = draw(convolution["image"], last[0]).requires_grad_(convolution["backward"])  # (B, C, *S)
    weight = draw(convolution["weight"], last[1]).requires_grad_(convolution["backward"])
    bias = draw([convolution["bias"]]).requires_grad_(convolution["backward"]) if convolution["bias"] else None
    function: Callable[..., Tensor] = getattr(torch, convolution["function"])
    output = function(image, weight, bias, **convolution["options"])
    results = {"the output": output.detach().float()}
    if convolution["backward"]:
        inputs = {"the image": image, "the weight": weight, "the bias": bias}
        given = {name: value for name, value in inputs.items() if value is not None}
        gradients = torch.autograd.grad(output, list(given.values()), draw(list(output.shape)))
        for name, gradient in zip(given, gradients, strict=True):
            results[f"the gradient of {name}"] = gradient.float()
    return results


def _shake_heap() -> None:
    """Make glibc walk its free chunks, so that memory corrupted by a kernel ends this process here, not later."""
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform.startswith("linux") else None:
        trim(0)


def _print_problem(convolution: Mapping[str, Any]) -> None:
    found = problem(convolution)
    _shake_heap()
    sys.stdout.write(json.dumps(found) + "\n")
    sys.stdout.flush()  # now: the next one may end this process


def _print_problem_in_fork(convolution: Mapping[str, Any]) -> None:
    """Print what is wrong, or how the fork that tried it ended."""

    def act(errors: int) -> None:
        os.dup2(errors, 2)
        signal.alarm(_PATIENCE_S + 60)  # ends it where the process that waits for it was killed
        _print_problem(convolution)

    with tempfile.TemporaryFile() as errors:
        fork = multiprocessing.get_context("fork").Process(target=act, args=(errors.fileno(),), daemon=True)
        fork.start()
        fork.join(_PATIENCE_S)
        if (code := fork.exitcode) == 0:
            return
        fork.kill()
        errors.seek(0)
        last = (errors.read().decode(errors="replace").strip().splitlines() or ["no message"])[-1]
    ending = f"no answer within {_PATIENCE_S} s" if code is None else f"code {code} ({last})"
    sys.stdout.write(json.dumps(f"the process that tried it ended with {ending}") + "\n")
    sys.stdout.flush()


def main(threads: str) -> None:
    """Check the convolutions that standard input names."""
    torch.set_num_threads(int(threads))
    for convolution in json.load(sys.stdin):
        (_print_problem_in_fork if _FORKS else _print_problem)(convolution)


if __name__ == "__main__":
    main(*sys.argv[1:])
