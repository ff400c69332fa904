"""Describe the processor, as far as results and speed on it can depend on it."""

from __future__ import annotations

import functools
import os
import platform
import re

import torch

# what oneDNN and PyTorch choose their kernels by, of what a processor can
_FEATURES = ("avx2", "avx512_f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_tile", "amx_bf16", "amx_int8")
# set by a user, they limit that choice; https://uxlfoundation.github.io/oneDNN/dev_guide_cpu_dispatcher_control.html
_LIMITS = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY")


@functools.cache
def describe_processor() -> dict[str, str]:
    """Return the processor's kind: nothing that tells one machine from another of its kind.

    Returns:
        cpu: its name. cpu_features: of those that kernels are chosen by, the ones it has. onednn: oneDNN's version.
        cpu_limits: environment variables that keep kernels from using features, empty where none is set.
    """
    capabilities: dict[str, object] = dict(getattr(torch.cpu, "get_capabilities", dict)())  # not in older torch
    onednn = re.search(r"MKL-DNN v(\S+)", torch.__config__.show())
    return {
        "cpu": str(capabilities.get("cpu_name") or _name()),
        "cpu_features": " ".join(name for name in _FEATURES if capabilities.get(name))
        or torch.backends.cpu.get_cpu_capability(),
        "cpu_limits": " ".join(f"{name}={os.environ[name]}" for name in _LIMITS if os.environ.get(name)),
        "onednn": onednn.group(1) if onednn else "none",
    }


def _name() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:
            found = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    except OSError:  # another system
        found = []
    return found[0] if found else platform.processor() or platform.machine()
