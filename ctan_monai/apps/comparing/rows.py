"""Rows of a comparison's table from the command line."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from ctan_monai.apps.comparing.bundle import Bundle
from ctan_monai.apps.comparing.plan import Row
from ctan_monai.errors import ConfigError, check_choice
from ctan_monai.losses.weighting.registry import WEIGHTINGS
from ctan_monai.networks.registry import own_backbone

_PRESETS_FILE = "presets.yaml"
_FORM = "Write NAME: {method: ctan, overrides: {learning_rate: 0.001}} for each row, with NAME of letters, digits, _."
Preset = tuple[str, tuple[str, ...]]


def read_presets(file: Path | None = None) -> dict[str, Preset]:
    """Read the presets of ablations: method and overrides by name.

    Args:
        file: one's own, in the form of presets.yaml, to be added to those of the package.

    Raises:
        ConfigError: the file is not of that form, or has a name of the package's.
    """
    text = resources.files("ctan_monai.apps.comparing").joinpath(_PRESETS_FILE).read_text(encoding="utf-8")
    found = {name: _preset(entry) for name, entry in yaml.safe_load(text).items()}
    if file is None:
        return found
    try:
        own = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError("--presets", f"{file} cannot be read: {error}.", "Name a file of YAML.") from error
    if not isinstance(own, dict) or not own:
        raise ConfigError("--presets", f"{file} names no rows.", _FORM)
    for name, entry in own.items():
        if name in found:
            raise ConfigError("--presets", f"{file} has {name!r}, a preset of the package.", "Choose another name.")
        named = re.fullmatch(r"[A-Za-z0-9]\w*", str(name), re.ASCII)  # becomes a folder
        if not (named and isinstance(entry, dict) and {*entry} == {"method", "overrides"}):
            raise ConfigError("--presets", f"{file} has {name!r}: {entry!r}.", _FORM)
        if not isinstance(entry["overrides"], dict):
            raise ConfigError("--presets", f"{file} has {name!r} with overrides {entry['overrides']!r}.", _FORM)
    return found | {str(name): _preset(entry) for name, entry in own.items()}


def _check_names(
    methods: Sequence[str], weightings: Sequence[str], presets: Sequence[str], known: Mapping[str, Preset]
) -> None:
    for setting, given, allowed in (("--weighting", weightings, list(WEIGHTINGS)), ("--preset", presets, list(known))):
        for name in given:
            check_choice(setting, name, allowed)
    for setting, given in (("--methods", methods), ("--weighting", weightings), ("--preset", presets)):
        if len(set(given)) != len(given):
            raise ConfigError(setting, f"{list(given)} names one twice.", "Name each once.")
    if not methods:
        raise ConfigError("--methods", "there is none.", "Name some, as stl,hps,mtan,ctan.")


def _preset(entry: Mapping[str, Any]) -> Preset:
    pairs = [(f"--{option}", str(value)) for option, value in entry["overrides"].items()]
    return str(entry["method"]), tuple(word for pair in pairs for word in pair)


def make_rows(
    bundle: Bundle,
    methods: Sequence[str],
    weightings: Sequence[str] = (),
    presets: Sequence[str] = (),
    file: Path | None = None,
) -> tuple[Row, ...]:
    """Create a row for each method and weighting, then one for each preset and weighting.

    A method whose tasks share nothing has one row whatever the weightings; one with a backbone of its own has no
    ``--encoder``. Every network is built once here, so that
    a wrong option is found before anything is trained.

    Args:
        bundle: the bundle.
        methods: names of architectures.
        weightings: names of weightings; none: the bundle's.
        presets: names of presets.
        file: see `read_presets`.

    Raises:
        ConfigError: a method, weighting or preset is unknown, or named twice.
    """
    known = read_presets(file)
    _check_names(methods, weightings, presets, known)
    for name in presets:
        Bundle(bundle.folder, known[name][1])  # has it such options?
    chosen = list(weightings) or [str(bundle.get(bundle.parser(), "weighting"))]
    rows: list[Row] = []
    for method, preset, overrides in [(name, None, ()) for name in methods] + [
        (known[p][0], p, known[p][1]) for p in presets
    ]:
        if "encoder" in bundle.overrides and own_backbone(method):  # the others' encoder is not for it
            overrides = (*overrides, "--encoder", "None")
        shares = not bundle.network(method, overrides).independent_tasks
        for weighting in chosen if shares else [None]:
            parts = [method, *([preset] if preset else []), *([weighting] if weighting and len(chosen) > 1 else [])]
            rows.append(Row("-".join(parts), method, weighting, preset, overrides))
    return tuple(rows)
