"""A training's network through torch.compile."""

from __future__ import annotations

import os
import shutil
from typing import Any

import torch

from ctan_monai.engines.distributed.processes import unwrap
from ctan_monai.engines.runs.options import compile_mode
from ctan_monai.errors import ConfigError
from ctan_monai.networks.base import MultiTaskNetwork

_REMEDY = "Leave compile false."


def compiled_network(trainer: Any, mode: bool | str) -> Any | None:
    """Compile the network that a trainer calls; validation and saved weights are those of the network itself.

    Args:
        trainer: its network and gradient weighting are read.
        mode: false, true or 'default', or another mode of `torch.compile`: 'reduce-overhead' replays CUDA graphs.

    Returns:
        The module to call in training steps; None with ``mode`` false.

    Raises:
        ConfigError: there is no such mode, no compiler of C++, or the network's passes cannot be compiled as a whole.
    """
    if (name := compile_mode(mode)) is None:
        return None
    penalty = getattr(type(unwrap(trainer.network)), "penalty", MultiTaskNetwork.penalty)
    if trainer.task_gradients is not None:
        raise ConfigError("compile", "the weighting takes the tasks' gradients apart within the network.", _REMEDY)
    if penalty is not MultiTaskNetwork.penalty:
        raise ConfigError("compile", "the network's penalty reads what its passes leave behind.", _REMEDY)
    compiler = os.environ.get("CXX", "g++")
    if not any(shutil.which(name) for name in (compiler, "c++", "clang++", "cl")):
        raise ConfigError("compile", f"no compiler of C++ was found ({compiler}).", f"Install one. {_REMEDY}")
    return torch.compile(trainer.network, mode=name)
