"""In which numbers the network computes: float32, or mixed with bfloat16 or float16."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch

from ctan_monai.engines.runs.options import as_bool
from ctan_monai.errors import ConfigError

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Precision:
    """Autocast and gradient scaling that belong together.

    Args:
        device_type: 'cpu', 'cuda' ...
        dtype: what autocast computes in, None for float32 without autocast.
    """

    device_type: str
    dtype: torch.dtype | None

    def autocast(self) -> AbstractContextManager[object]:
        """Return the context in which the forward pass belongs."""
        return nullcontext() if self.dtype is None else torch.autocast(self.device_type, dtype=self.dtype)

    def scaler(self) -> torch.amp.GradScaler | None:
        """Return a fresh gradient scaler for float16, whose small gradients are 0 otherwise; None where not needed."""
        return torch.amp.GradScaler(self.device_type) if self.dtype is torch.float16 else None


def choose_precision(device: torch.device | str, amp: bool | str, amp_dtype: str = "auto") -> Precision:
    """Decide in which numbers the network computes.

    Args:
        device: where it computes.
        amp: whether to use mixed precision at all; MONAI's own engines ignore it on the CPU.
        amp_dtype: 'bf16', 'fp16' (CUDA only), or 'auto': bf16 where the device computes in it, else fp16.

    Raises:
        ConfigError: the dtype is unknown, or fp16 is asked for on a device other than CUDA.
    """
    device_type = torch.device(device).type
    if amp_dtype not in ("auto", *_DTYPES):
        raise ConfigError("amp_dtype", f"{amp_dtype!r} is unknown.", "Use auto, bf16 or fp16.")
    if not as_bool(amp, "amp"):
        return Precision(device_type, None)
    if amp_dtype == "auto":
        old_gpu = device_type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False)
        amp_dtype = "fp16" if old_gpu else "bf16"
    if amp_dtype == "fp16" and device_type != "cuda":
        raise ConfigError("amp_dtype", f"fp16 was asked for on {device_type}.", "Use bf16 or auto there.")
    return Precision(device_type, _DTYPES[amp_dtype])
