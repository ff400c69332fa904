"""Refuse, or compute in float32, what this processor computes wrongly in bfloat16."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException, FakeTensorMode
from torch.func import functional_call
from torch.overrides import TorchFunctionMode

from ctan_monai.engines.distributed.unwrap import unwrap, without_data_parallel
from ctan_monai.engines.loop.bf16_check import Convolution, as_convolution, check
from ctan_monai.engines.loop.precision import Precision
from ctan_monai.errors import ConfigError

ON_WRONG = ("refuse", "float32")


@contextmanager
def checking_bf16(
    network: nn.Module, precision: Precision, on_wrong: str = "refuse", cache: str | Path | None = None
) -> Iterator[None]:
    """Within this, a network that computes in bfloat16 on the CPU computes nothing that is wrong on this processor.

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
    if on_wrong not in ON_WRONG:
        raise ConfigError("bf16_wrong", f"{on_wrong!r} is unknown.", f"Use one of {list(ON_WRONG)}.")
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
    """List the convolutions in bfloat16 that an image reaches, from a forward pass that computes nothing.

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
        with torch.inference_mode(False), _without_hooks(network), FakeTensorMode() as without_values:
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
    """Refuse images (B, C, *S) for which this processor computes a convolution of a network wrongly in bfloat16.

    Raises:
        ConfigError: it does, or the network's way depends on values of tensors.
    """
    wanted = [each for image in images for each in convolutions_of(network, image)]
    if wrong := check(wanted):
        raise _refusal(wrong)


@contextmanager
def _without_hooks(network: nn.Module) -> Iterator[None]:
    """Take away what watches or cuts forward passes: it is meant for those that compute."""
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
    """Lists the convolutions that are called in bfloat16."""

    def __init__(self) -> None:
        self.found: list[Convolution] = []

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Note a convolution, and call any function."""
        convolution = as_convolution(func, args, kwargs or {})
        if convolution is not None and (torch.is_autocast_enabled("cpu") or args[1].dtype is torch.bfloat16):
            self.found.append(convolution)
        return func(*args, **(kwargs or {}))


class _InFloat32(TorchFunctionMode):
    """Computes the convolutions in ``wrong`` in float32."""

    def __init__(self) -> None:
        self.wrong: dict[Convolution, str] = {}

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Call a function, without autocast if it is wrong with it."""
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
