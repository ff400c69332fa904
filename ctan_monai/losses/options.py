"""Checks of options given in a config, with errors that name the option."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import torch

from ctan_monai.errors import ConfigError

T = TypeVar("T")
Weights = float | Sequence[float] | Mapping[str, float]


def build(factory: Callable[..., T], setting: str, *args: Any, options: Mapping[str, Any]) -> T:
    """Call a factory with the options of a config; its keyword-only arguments are the options that exist.

    Raises:
        ConfigError: an option does not exist; the message names the setting, the option and those that exist.
    """
    parameters = inspect.signature(factory).parameters.values()
    known = [entry.name for entry in parameters if entry.kind is inspect.Parameter.KEYWORD_ONLY]
    for option in options:
        if option not in known:
            raise ConfigError(f"{setting}.{option}", "the option is unknown.", f"Use one of {known}." * bool(known))
    return factory(*args, **options)


def check_number(setting: str, value: Any, *, minimum: float = 0.0, above: bool = False) -> float:
    """Return a finite number that is at least (with `above`: greater than) the minimum.

    Raises:
        ConfigError: it is no such number.
    """
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not number or value < minimum or (above and value == minimum):
        bound = f"{'above' if above else 'of at least'} {minimum:g}"
        raise ConfigError(setting, f"found {value!r}.", f"Give a number {bound}.")
    return float(value)


def weight_per_entry(setting: str, value: Weights, entries: Sequence[str]) -> torch.Tensor:
    """Return one positive weight per label or class.

    Args:
        setting: the option's name in messages.
        value: one number for all, one per entry in order, or a mapping from entry to number (1 for those left out).
        entries: names of the labels or classes.

    Returns:
        (len(entries),) float32.

    Raises:
        ConfigError: a number is not positive, there are too few or too many, or an entry is unknown.
    """
    if isinstance(value, Mapping):
        unknown = sorted(set(value) - set(entries))
        if unknown:
            raise ConfigError(setting, f"{unknown} is not among {list(entries)}.", "Name entries of this task.")
        numbers = [value.get(entry, 1.0) for entry in entries]
    elif isinstance(value, Sequence):
        numbers = list(value)
    else:
        numbers = [value] * len(entries)
    if len(numbers) != len(entries):
        raise ConfigError(
            setting,
            f"found {len(numbers)} weights for {len(entries)} entries.",
            f"Give one for each of {list(entries)}.",
        )
    return torch.tensor([check_number(setting, number, above=True) for number in numbers])
