"""Public names of a package, each imported from its module when it is first used."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def by_name(table: str) -> dict[str, str]:
    """Return the module of each public name from lines ``module: Name Name ...``.

    >>> by_name("loop.sampler: create_sampler Sampler")
    {'create_sampler': 'loop.sampler', 'Sampler': 'loop.sampler'}
    """
    lines = (line.split(":") for line in table.strip().splitlines())
    return {name: module.strip() for module, names in lines for name in names.split()}


def lazy_names(
    package: str, names: Mapping[str, str], otherwise: Callable[[str], Any] | None = None
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return a package's ``__getattr__`` and ``__dir__`` (PEP 562).

    Args:
        package: its ``__name__``.
        names: for each public name the module that defines it, relative to the package; ``..files`` goes up.
        otherwise: asked for any other name; None: such a name is an AttributeError.
    """

    def find(name: str) -> Any:
        if name in names:
            place = names[name]
            return getattr(import_module(place if place.startswith(".") else f".{place}", package), name)
        if otherwise is not None:
            return otherwise(name)
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return find, lambda: sorted(names)
