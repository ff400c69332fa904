"""Record and replace tensors inside a network's forward pass, at the sites of its parts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch import Tensor, nn

from ctan_monai.networks.parts import Site

Values = dict[Site, Tensor]


@contextmanager
def recording(network: nn.Module, sites: Iterable[Site]) -> Iterator[Values]:
    """Record the detached tensors at sites during forward passes in this context; the last pass counts.

    Args:
        network: a network that is neither wrapped nor compiled; a site must name one of its modules.
        sites: of its parts.

    Yields:
        The values, filled by the forward pass.
    """
    found: Values = {}

    def keep(site: Site, value: Tensor) -> Tensor:
        found[site] = value.detach()
        return value

    with _hooked(network, {site: keep for site in sites}):
        yield found


@contextmanager
def replacing(network: nn.Module, values: Mapping[Site, Tensor]) -> Iterator[None]:
    """Replace the tensors at some sites during forward passes in this context.

    Args:
        network: a network that is neither wrapped nor compiled.
        values: for each site the tensor that takes the place of what passes it, of its shape, or broadcast to it.
    """

    def put(site: Site, value: Tensor) -> Tensor:
        return values[site].to(value).expand_as(value)  # its device too

    with _hooked(network, {site: put for site in values}):
        yield


@contextmanager
def _hooked(network: nn.Module, visits: Mapping[Site, Callable[[Site, Tensor], Tensor]]) -> Iterator[None]:
    """Register hooks that call a function with the tensor at each site, and replace it by the result."""
    by_module: dict[str, list[Site]] = {}
    for site in visits:
        by_module.setdefault(site.module, []).append(site)
    calls = dict.fromkeys(by_module, -1)  # of each module in the present forward pass of the network
    handles = [network.register_forward_pre_hook(lambda *_: calls.update(dict.fromkeys(calls, -1)))]

    def visit(name: str, value: Any, output: bool) -> Any:
        for site in by_module[name]:
            if site.output is output and site.call in (None, calls[name]):
                value = _exchanged(value, site.path, partial(visits[site], site))
        return value

    def before(name: str, module: nn.Module, inputs: Any) -> Any:
        calls[name] += 1
        return visit(name, inputs, output=False)

    def after(name: str, module: nn.Module, inputs: Any, result: Any) -> Any:
        return visit(name, result, output=True)

    for name in by_module:
        module = network.get_submodule(name)
        handles.append(module.register_forward_pre_hook(partial(before, name)))
        handles.append(module.register_forward_hook(partial(after, name)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _exchanged(value: Any, path: tuple[int | str, ...], exchange: Callable[[Tensor], Tensor]) -> Any:
    """Replace one tensor in a copy of nested (named) tuples, lists and dictionaries.

    >>> _exchanged((1, [2, 3]), (1, 0), lambda found: found * 10)
    (1, [20, 3])
    """
    if not path:
        return exchange(value)
    key, rest = path[0], path[1:]
    if isinstance(value, Mapping):
        return {**value, key: _exchanged(value[key], rest, exchange)}
    position = value._fields.index(key) if isinstance(key, str) else key
    entries = list(value)
    entries[position] = _exchanged(entries[position], rest, exchange)
    return value._make(entries) if hasattr(value, "_make") else type(value)(entries)
