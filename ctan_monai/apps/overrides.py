"""What follows ``--`` on a command line: entries of a bundle's config, as after `monai.bundle run`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ctan_monai.errors import ConfigError


def read_pairs(arguments: Sequence[str]) -> dict[str, Any]:
    """Read ``--name value`` pairs as `monai.bundle run` does.

    >>> read_pairs(["--epochs", "5", "--train#x={a: 1}", "--amp"])
    {'epochs': 5, 'train#x': {'a': 1}, 'amp': True}

    Raises:
        ConfigError: something is no such pair.
    """
    from fire.parser import DefaultParseValue

    found: dict[str, Any] = {}
    waiting: str | None = None
    for argument in arguments:
        if argument.startswith("--"):
            name, equals, value = argument[2:].partition("=")
            found[name] = DefaultParseValue(value) if equals else True
            waiting = None if equals else name
        elif waiting is not None:
            found[waiting] = DefaultParseValue(argument)
            waiting = None
        else:
            raise ConfigError(argument, "it belongs to no --name.", "Write --name value after the --.")
    return found
