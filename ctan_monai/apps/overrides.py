"""Parsing of the overrides after ``--`` on a command line, as for `monai.bundle run`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ctan_monai.engines.runs.config_copies import read_flags
from ctan_monai.errors import ConfigError


def read_pairs(arguments: Sequence[str]) -> dict[str, Any]:
    """Read ``--name value`` pairs as `monai.bundle run` does.

    >>> read_pairs(["--epochs", "5", "--train#x={a: 1}", "--amp"])
    {'epochs': 5, 'train#x': {'a': 1}, 'amp': True}

    Raises:
        ConfigError: something is no such pair.
    """
    unnamed, found = read_flags(arguments)
    if unnamed:
        raise ConfigError(unnamed[0], "it belongs to no --name.", "Write --name value after the --.")
    return found
