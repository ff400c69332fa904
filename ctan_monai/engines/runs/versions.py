"""Versions of a run: packages, processor, the state of the source."""

from __future__ import annotations

import functools
import os
import platform
import re
import subprocess
from pathlib import Path

import monai
import numpy as np
import torch

import ctan_monai

# what oneDNN and PyTorch choose their kernels by, of what a processor can
_FEATURES = ("avx2", "avx512_f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_tile", "amx_bf16", "amx_int8")
# set by a user, they limit that choice; https://uxlfoundation.github.io/oneDNN/dev_guide_cpu_dispatcher_control.html
_LIMITS = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY")
_WAIT_S = 10.0


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
        # PyTorch's name is a shortened one, of which other programs of the same machine know nothing
        "cpu": _name() or str(capabilities.get("cpu_name") or platform.processor() or platform.machine()),
        "cpu_features": " ".join(name for name in _FEATURES if capabilities.get(name))
        or torch.backends.cpu.get_cpu_capability(),
        "cpu_limits": " ".join(f"{name}={os.environ[name]}" for name in _LIMITS if os.environ.get(name)),
        "onednn": onednn.group(1) if onednn else "none",
    }


def lacks_bf16() -> bool:
    """Return whether this is an x86 processor without instructions for bfloat16, which is slower than float32 there.

    An older PyTorch, and one on another kind of processor, does not tell: False.
    """
    features = set(describe_processor()["cpu_features"].split())
    return "avx2" in features and not features & {"avx512_bf16", "amx_bf16"}


def _name() -> str:
    """Return the processor's name as Linux lists it, '' on another system."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:
            found = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    except OSError:  # another system
        found = []
    return found[0] if found else ""


@functools.cache
def source_state() -> str:
    """Return the git commit of the package's source and whether files differ from it; 'none' for an installed one.

    >>> source_state() == source_state()  # looked up once
    True
    """
    try:
        _git("ls-files", "--error-unmatch", "__init__.py")  # not just installed somewhere inside another repository
        commit = _git("rev-parse", "HEAD")
        changed = _git("status", "--porcelain", "--", ".")
    except (OSError, subprocess.SubprocessError):
        return "none"
    return f"{commit}, changed" if changed else commit


def _git(*arguments: str) -> str:
    place = Path(ctan_monai.__file__).parent
    command = ["git", "-C", str(place), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=_WAIT_S)  # noqa: S603
    return done.stdout.strip()


def versions() -> dict[str, str]:
    """Return versions and kind of machine, without anything that names the machine or its user."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    return {
        "ctan_monai": ctan_monai.__version__,
        "git": source_state(),
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "monai": str(monai.__version__),
        "numpy": str(np.__version__),
        "cuda": str(torch.version.cuda),
        "gpu": gpu,
        "platform": f"{platform.system()} {platform.machine()}",
        "threads": str(torch.get_num_threads()),
        **describe_processor(),
    }
