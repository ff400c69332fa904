"""Checks of values that become part of a config: in MONAI's configs a text can be a program, and data must not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ctan_monai.errors import ConfigError

SIGNS = {"$": "evaluates as Python", "@": "takes for a reference", "%": "takes for a part of another file"}
_INSTRUCTIONS = {"_target_", "_requires_", "_disabled_", "_mode_", "_desc_", "_args_", "_kwargs_", "_partial_"}
_REMEDY = "Write the value itself. Only a config that you wrote, and your own command line, may hold expressions."


def refuse_code(value: Any, setting: str, remedy: str = _REMEDY) -> None:
    """Refuse values that MONAI would evaluate or resolve instead of taking them literally.

    >>> refuse_code({"encoder": "resnet18", "window": [-160, 240]}, "settings.json")

    Args:
        value: what JSON or a command line can hold.
        setting: where it comes from.
        remedy: what to do.

    Raises:
        ConfigError: a text, however deep in the value, begins with $, @ or %; or a dictionary names a ``_target_``.
    """
    if isinstance(value, Mapping):
        for key, entry in value.items():
            if key in _INSTRUCTIONS:
                raise ConfigError(f"{setting}.{key}", "it is an instruction, which MONAI follows.", remedy)
            refuse_code(key, setting, remedy)
            refuse_code(entry, f"{setting}.{key}", remedy)
    elif isinstance(value, list | tuple | set | frozenset):
        for entry in value:
            refuse_code(entry, setting, remedy)
    elif isinstance(value, str) and value[:1] in SIGNS:
        raise ConfigError(setting, f"{value[:80]!r} begins with {value[0]}, which MONAI {SIGNS[value[0]]}.", remedy)
