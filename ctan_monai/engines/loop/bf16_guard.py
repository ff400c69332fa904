"""Choose the precision; refuse, or compute in float32, convolutions that are wrong in bfloat16 on this processor."""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException, FakeTensorMode
from torch.func import functional_call
from torch.overrides import TorchFunctionMode

from ctan_monai.engines.distributed.processes import unwrap, without_data_parallel
from ctan_monai.engines.loop.bf16_check import Convolution, as_convolution, check
from ctan_monai.engines.runs.options import as_bool
from ctan_monai.engines.runs.versions import describe_processor, lacks_bf16
from ctan_monai.errors import ConfigError, check_choice

_logger = logging.getLogger(__name__)
_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
ON_WRONG = ("refuse", "float32")


@dataclass(frozen=True)
class Precision:
    """Autocast and gradient scaling of a precision.

    Args:
        device_type: 'cpu', 'cuda' ...
        dtype: what autocast computes in, None for float32 without autocast.
    """

    device_type: str
    dtype: torch.dtype | None

    def autocast(self) -> AbstractContextManager[object]:
        """Return the autocast context of the forward pass."""
        return nullcontext() if self.dtype is None else torch.autocast(self.device_type, dtype=self.dtype)

    def scaler(self) -> torch.amp.GradScaler | None:
        """Create a gradient scaler for float16, None where it is not needed."""
        return torch.amp.GradScaler(self.device_type) if self.dtype is torch.float16 else None


def choose_precision(device: torch.device | str, amp: bool | str, amp_dtype: str = "auto") -> Precision:
    """Choose the precision of training or inference.

    A warning says where bfloat16 was asked for on a CPU that is slower in it than in float32.

    Args:
        device: where it computes.
        amp: whether to use mixed precision at all; MONAI's own engines ignore it on the CPU.
        amp_dtype: 'bf16', 'fp16' (CUDA only), or 'auto': bf16 where the device computes in it, else fp16.

    Raises:
        ConfigError: the dtype is unknown, or fp16 is asked for on a device other than CUDA.
    """
    device_type = torch.device(device).type
    check_choice("amp_dtype", amp_dtype, ("auto", *_DTYPES))
    if not as_bool(amp, "amp"):
        return Precision(device_type, None)
    if amp_dtype == "auto":
        old_gpu = device_type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False)
        amp_dtype = "fp16" if old_gpu else "bf16"
    if amp_dtype == "fp16" and device_type != "cuda":
        raise ConfigError("amp_dtype", f"fp16 was asked for on {device_type}.", "Use bf16 or auto there.")
    if device_type == "cpu" and lacks_bf16():
        _warn_of_slow_bf16()
    return Precision(device_type, _DTYPES[amp_dtype])


@functools.cache  # once for training, validation and all that follows
def _warn_of_slow_bf16() -> None:
    _logger.warning(
        "This processor (%s) has no instructions for bfloat16 (avx512_bf16, amx_bf16): mixed precision takes longer "
        "here than single precision. Use --amp False.",
        describe_processor()["cpu"],
    )


@contextmanager
def checking_bf16(
    network: nn.Module, precision: Precision, on_wrong: str = "refuse", cache: str | Path | None = None
) -> Iterator[None]:
    """Guard a network in bfloat16 on the CPU against convolutions that are wrong on this processor.

    Kernels for some sizes of convolutions read memory that was never written, write past their own, or have another
    error; which sizes differs between processors (ADR 18). So before the network meets images of a size for the first
    time, each convolution that such images reach is compared with float32, forward and, where it trains, backward, in
    another process; see `check`.

    Args:
        network: may be wrapped or compiled.
        precision: what it computes in; nothing is done in any other than bfloat16 on the CPU.
        on_wrong: 'refuse', or 'float32' to compute the convolutions that are wrong in float32.
        cache: folder of what was found before; None for the user's cache folder.

    Raises:
        ConfigError: ``on_wrong`` is neither; or, from the forward pass, a convolution is wrong and 'refuse' was asked
            for, or the network asks for values of tensors, so that its convolutions cannot be listed.
    """
    check_choice("bf16_wrong", on_wrong, list(ON_WRONG))
    if precision != Precision("cpu", torch.bfloat16):
        yield
        return
    in_float32 = _InFloat32()
    seen: set[tuple[Any, ...]] = set()

    def look(module: nn.Module, arguments: tuple[Any, ...]) -> None:
        image: Tensor = arguments[0]  # (B, C, *S)
        kind = (min(image.shape[0], 2), *image.shape[1:], torch.is_grad_enabled(), module.training)
        if kind in seen:
            return
        wrong = check(convolutions_of(unwrap(network), image), cache)
        if wrong and on_wrong == "refuse":
            raise _refusal(wrong)
        seen.add(kind)
        in_float32.wrong.update(wrong)

    handle = without_data_parallel(network).register_forward_pre_hook(look)
    try:
        if on_wrong == "refuse":
            yield
        else:
            with in_float32:
                yield
    finally:
        handle.remove()


def convolutions_of(network: nn.Module, image: Tensor) -> list[Convolution]:
    """List the convolutions in bfloat16 of a forward pass, without computing it.

    Args:
        network: in the mode in which it will compute; not changed.
        image: (B, C, *S), of which only shape and memory format count.

    Raises:
        ConfigError: the network's way depends on values of tensors.
    """
    listing = _Listing()
    # the cache of autocast would keep tensors without values for the real pass
    autocast = torch.autocast("cpu", dtype=torch.bfloat16, cache_enabled=False)
    try:
        with torch.inference_mode(False), without_hooks(network), FakeTensorMode() as without_values:
            state = {**dict(network.named_parameters()), **dict(network.named_buffers())}
            state = {name: without_values.from_tensor(value) for name, value in state.items()}
            with autocast, listing:  # not network(image): it would count the image in its batch statistics
                functional_call(network, state, torch.empty_strided(image.shape, image.stride(), dtype=image.dtype))
    except (DataDependentOutputException, DynamicOutputShapeException) as error:
        raise ConfigError(
            "amp",
            f"the network's forward pass asks for values of tensors ({error}), so its convolutions in bfloat16 "
            "cannot be checked before it starts.",
            "Train with --amp False.",
        ) from error
    return listing.found


def refuse_bf16(network: nn.Module, images: Iterable[Tensor]) -> None:
    """Refuse images (B, C, *S) for which a convolution of the network is wrong in bfloat16 on this processor.

    Raises:
        ConfigError: it does, or the network's way depends on values of tensors.
    """
    wanted = [each for image in images for each in convolutions_of(network, image)]
    if wrong := check(wanted):
        raise _refusal(wrong)


@contextmanager
def without_hooks(network: nn.Module) -> Iterator[None]:
    """Remove forward hooks and cuts temporarily, for a pass that computes nothing."""
    names = ("_forward_hooks", "_forward_pre_hooks")
    kept = [(module, name, getattr(module, name)) for module in network.modules() for name in names]
    for module, name, hooks in kept:
        setattr(module, name, type(hooks)())
    try:
        yield
    finally:
        for module, name, hooks in kept:
            setattr(module, name, hooks)


class _Listing(TorchFunctionMode):
    """Record the convolutions that are called in bfloat16."""

    def __init__(self) -> None:
        self.found: list[Convolution] = []

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Record a convolution, and call the function."""
        convolution = as_convolution(func, args, kwargs or {})
        if convolution is not None and (torch.is_autocast_enabled("cpu") or args[1].dtype is torch.bfloat16):
            self.found.append(convolution)
        return func(*args, **(kwargs or {}))


class _InFloat32(TorchFunctionMode):
    """Compute the convolutions in ``wrong`` in float32."""

    def __init__(self) -> None:
        self.wrong: dict[Convolution, str] = {}

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Call the function, in float32 if it is a wrong convolution."""
        kwargs = kwargs or {}
        if not self.wrong or as_convolution(func, args, kwargs) not in self.wrong:
            return func(*args, **kwargs)
        with torch.autocast("cpu", enabled=False):
            return func(*map(_float, args), **{name: _float(value) for name, value in kwargs.items()})


def _float(value: Any) -> Any:
    return value.float() if isinstance(value, Tensor) else value


def _refusal(wrong: Mapping[Convolution, str]) -> ConfigError:
    convolution, what = next(iter(wrong.items()))
    more = f", and {len(wrong) - 1} more convolutions" if len(wrong) > 1 else ""
    return ConfigError(
        "amp",
        f"in bfloat16 this processor computes {convolution} wrongly: {what}{more}.",
        "Use --amp False, or larger images; to compute such convolutions alone in float32, set bf16_wrong to float32 "
        "(for example --train#trainer#bf16_wrong float32).",
    )
