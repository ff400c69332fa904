"""Checks of the overrides of a command line or overlay before training."""

from __future__ import annotations

import difflib
import math
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ctan_monai.aliases import OPTIONS
from ctan_monai.config_values import SIGNS
from ctan_monai.engines.runs.config_copies import RUN_ARGUMENTS, given_configs, read_given
from ctan_monai.engines.runs.options import (
    DATA_ON,
    as_amount,
    as_bool,
    as_whole,
    check_device,
    choose,
    compile_mode,
)
from ctan_monai.engines.runs.parsed_config import building_parser, check_moved_ids
from ctan_monai.errors import ConfigError

_WHOLE = {  # and the least that each may be
    "epochs": 1, "batch_size": 1, "accumulate": 1, "val_interval": 1, "patience": 1, "workers": 0, "seed": 0,
    "split_seed": 0, "folds": 2, "fold": 0,
}  # fmt: skip
_OR_NONE = ("patience", "folds")
_SHARES, _AMOUNTS = ("augment",), ("checkpoint_every",)
_SWITCHES = ("amp", "resume", "save_execute_config", "deterministic")
_CHOICES: dict[str, Mapping[Any, Any]] = {"data_on": DATA_ON, "spatial_dims": {2: None, 3: None}}


def check_options(arguments: Sequence[str] | None = None) -> None:
    """Check the overrides given to `monai.bundle run`, of which MONAI accepts any name and value.

    Args:
        arguments: of the command line; None: of this program's, which may be another one and is then left alone.

    Raises:
        ConfigError: an entry that no config has or that is called otherwise now, or a value of the wrong kind; names
            the entry and the remedy.
    """
    if (parser := building_parser()) is not None:
        check_moved_ids(parser)
    arguments = sys.argv[1:] if arguments is None else arguments
    files = [path for path in given_configs(arguments) if path.is_file()]
    if files and arguments[0] == "run":
        check_given(read_given(arguments), files)


def check_given(given: Mapping[str, Any], files: Sequence[Path]) -> None:
    """Check overrides of some config files.

    Args:
        given: values by the entries' names; `monai.bundle run`'s own arguments may be among them.
        files: the config files, of which each later one is merged into those before.

    Raises:
        ConfigError: an entry that no config has, or a value of the wrong kind; names the entry and the remedy.
    """
    from monai.bundle import ConfigParser

    given = {name: value for name, value in given.items() if name not in RUN_ARGUMENTS}
    configs: list[dict[str, Any]] = [ConfigParser.load_config_file(str(path)) or {} for path in files]
    if not all(isinstance(config, dict) for config in configs):  # MONAI says so
        return
    check_moved_ids(ConfigParser(configs[0]), [*given, *(name for config in configs[1:] for name in config)])
    _check_names(given, files, configs)
    for name, value in given.items():
        _check_text(name, value)
    merged: dict[str, Any] = {}
    for config in [*configs, given]:
        merged.update(config)
    plain = {name: value for name, value in merged.items() if not _is_computed(value)}
    for name, value in plain.items():
        _check_value(name, value, configs[0].get(name))
    if plain.get("folds") is not None and plain.get("datalist"):  # an evaluation's is computed: that of its run
        found = f"{plain['folds']} folds and the splits of {plain['datalist']} were given."
        raise ConfigError("folds", found, "Leave out one of them.")


def _is_computed(value: Any) -> bool:
    """Return whether a value comes from the config's other entries."""
    return isinstance(value, Mapping) or (isinstance(value, str) and value.startswith(("$", "@", "%")))


def _check_names(given: Mapping[str, Any], files: Sequence[Path], configs: Sequence[Mapping[str, Any]]) -> None:
    """Refuse unknown entries; in an overlay, which may add entries, those that look misspelled."""
    from monai.bundle.utils import DEFAULT_MLFLOW_SETTINGS

    referred = set(re.findall(r"@(\w+)", " ".join(path.read_text(encoding="utf-8") for path in files) + f" {given}"))
    known = set(map(_top, configs[0]))
    for config in (given, *configs[1:]):
        others = {_top(name) for other in configs if other is not config for name in other}
        for name in config:
            new = OPTIONS.get(_top(name))
            if new in others and _top(name) not in others:
                raise ConfigError(f"--{name}", f"this option is {new} now.", f"Write {new}.")
    for path, config in zip(files[1:], configs[1:], strict=True):
        for name in set(map(_top, config)) - known - referred:
            if near := difflib.get_close_matches(name, known, 1, 0.8):
                raise ConfigError(name, f"{path} has it, and nothing uses it.", f"Did you mean {near[0]}?")
        known |= set(map(_top, config))
    known |= set(DEFAULT_MLFLOW_SETTINGS["configs"]) | {"_meta_"}
    for name in given:
        if _top(name) not in known | referred:
            near = difflib.get_close_matches(_top(name), known, 1)
            options = ", ".join(entry for entry in configs[0] if not isinstance(configs[0][entry], dict))
            remedy = f"Did you mean --{near[0]}?" if near else f"The entries are {options}."
            raise ConfigError(f"--{name}", "the config has no such entry, and nothing uses it.", remedy)


def _top(name: str) -> str:
    return re.split("#|::", str(name).removeprefix("+"))[0]


def _check_text(name: str, value: Any) -> None:
    """Refuse texts of the command line that the shell left as they are, or that MONAI takes for something else."""
    if not isinstance(value, str):
        return
    if value == "null":  # which YAML reads as None, and the command line as a text
        reason = "'null' is a text on a command line."
        raise ConfigError(f"--{name}", reason, f"Write --{name} None, or leave it out where that is the default.")
    if value.startswith("~"):
        reason = f"{value!r} was found; the shell puts your folder in place of ~ only where a word begins with it."
        raise ConfigError(f"--{name}", reason, f"Write --{name} {value}, with a blank, or the whole path.")
    is_name = name.endswith("_dir") and re.fullmatch(r"\$\w+", value) and value != "$None"
    if value[:1] in SIGNS and (is_name or Path(value).exists()):
        reason = f"the path {value!r} begins with {value[0]}, which MONAI {SIGNS[value[0]]}."
        raise ConfigError(f"--{name}", reason, f"Write ./{value}, or the whole path.")


def _check_value(name: str, value: Any, default: Any) -> None:
    if name in _WHOLE:
        if value is not None or name not in _OR_NONE:
            as_whole(value, name, _WHOLE[name])
    elif name in _AMOUNTS:
        as_amount(value, name)
    elif name in _SWITCHES:
        as_bool(value, name)
    elif name in _CHOICES:
        choose(name, value, _CHOICES[name])
    elif name == "device":
        check_device(value)
    elif name == "compile":
        compile_mode(value)
    elif value is not None:
        _check_numbers(name, value, default)


def _check_numbers(name: str, value: Any, default: Any) -> None:
    if _is_number(default):
        _check_number(name, value, default)
    elif isinstance(default, list) and default and all(map(_is_number, default)):
        for entry in value if isinstance(value, list | tuple) else ():
            _check_number(name, entry, default)


def _check_number(name: str, value: Any, default: Any) -> None:
    if not _is_number(value) or not math.isfinite(value):
        remedy = "Leave the quotes out." if isinstance(value, str) and _reads_as_number(value) else "Give a number"
        raise ConfigError(name, f"{value!r} is no number; the config has {default}.", remedy.rstrip(".") + ".")
    if name == "learning_rate" and not value > 0:
        raise ConfigError(name, f"{value} is not positive.", f"Give for example {default}.")
    if name in _SHARES and not 0 <= value <= 1:
        raise ConfigError(name, f"{value} is not between 0 and 1.", f"Give for example {default}.")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _reads_as_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
