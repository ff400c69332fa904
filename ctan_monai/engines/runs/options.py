"""Conversion of options as typed by users."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from ctan_monai.errors import ConfigError, check_choice

_WORDS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
COMPILE_MODES = ("default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs")  # of torch.compile
DATA_ON = {"auto": None, "loader": False, "device": True}  # whether training data lie on the device


def as_bool(value: bool | int | str, setting: str) -> bool:
    """Convert to a boolean.

    On the command line of `monai.bundle` ``--amp False`` arrives as a boolean and ``--amp false`` as the string
    'false', which Python takes for true.

    Args:
        value: a boolean, 0 or 1, or one of true, false, yes, no, on, off in any case.
        setting: name of the switch, for the error.

    Raises:
        ConfigError: it is none of these.

    >>> as_bool("false", "amp"), as_bool("True", "amp"), as_bool(True, "amp")
    (False, True, True)
    """
    word = str(value).strip().lower()
    if word not in _WORDS:
        raise ConfigError(setting, f"{value!r} is neither true nor false.", "Write true or false.")
    return _WORDS[word]


def as_whole(value: Any, setting: str, least: int) -> int:
    """Convert to an integer.

    Args:
        value: what the user gave; a number in quotes is text, which compares and adds up as no number does.
        setting: its name, for the error.
        least: the smallest that makes sense.

    Raises:
        ConfigError: it is something else, or smaller.
    """
    if isinstance(value, int) and not isinstance(value, bool) and value >= least:
        return value
    quoted = isinstance(value, str) and value.strip().lstrip("-").isdecimal()
    remedy = f"Leave the quotes out: {setting}: {value}." if quoted else f"Give {least}, {least + 1}, {least + 2} ..."
    raise ConfigError(setting, f"{value!r} was found, expected a whole number of at least {least}.", remedy)


def as_amount(value: Any, setting: str) -> float:
    """Convert to a number that is 0 or more.

    Raises:
        ConfigError: it is something else.
    """
    if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0:
        return float(value)
    raise ConfigError(setting, f"{value!r} was found, expected a number of at least 0.", "Give for example 0 or 10.")


def choose(setting: str, value: Any, options: Mapping[Any, Any]) -> Any:
    """Return the entry of ``options`` that a setting of a config names.

    Args:
        setting: the setting's name, for the message.
        value: what the user gave.
        options: what may be given, and what each stands for.

    Raises:
        ConfigError: the value is none of them.
    """
    check_choice(setting, value, sorted(options))
    return options[value]


def compile_mode(value: bool | str) -> str | None:
    """Return the mode of `torch.compile` that a setting asks for, None for none.

    Raises:
        ConfigError: the value is neither a mode nor a boolean.

    >>> compile_mode("True"), compile_mode("reduce-overhead"), compile_mode(False)
    ('default', 'reduce-overhead', None)
    """
    if value in COMPILE_MODES:
        return str(value)
    try:
        return "default" if as_bool(value, "compile") else None
    except ConfigError as error:
        modes = ", ".join(COMPILE_MODES)
        raise ConfigError("compile", f"{value!r} is no mode.", f"Use true, false, or one of {modes}.") from error


def check_device(device: Any) -> torch.device:
    """Check that a device works and return it.

    Raises:
        ConfigError: there is no such device here, or it computes nothing; names those that do.
    """
    try:
        found = torch.device(device)
        torch.ones(1, device=found).item()
    except (RuntimeError, AssertionError, TypeError, NotImplementedError) as error:
        usable = ["cpu", *(f"cuda:{number}" for number in range(torch.cuda.device_count()))]
        usable += ["mps"] if torch.backends.mps.is_available() else []
        first = str(error).strip().splitlines()[0].split(". ")[0].rstrip(".")  # torch goes on with lists of backends
        reason = f"{device!r} cannot be used here ({first})."
        raise ConfigError("--device", reason, f"Use {' or '.join(usable)}, or leave it out.") from error
    return found
