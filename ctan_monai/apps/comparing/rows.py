"""Rows of a comparison's table from the command line."""

from __future__ import annotations

from collections.abc import Sequence

import yaml

from ctan_monai.apps.comparing.bundle import Bundle
from ctan_monai.apps.comparing.plan import Row
from ctan_monai.errors import ConfigError
from ctan_monai.losses.weighting.registry import WEIGHTINGS
from ctan_monai.networks.registry import own_backbone

_PRESETS_FILE = "presets.yaml"


def read_presets() -> dict[str, tuple[str, tuple[str, ...]]]:
    """Read the presets of ablations: method and overrides by name."""
    from importlib import resources

    text = resources.files("ctan_monai.apps.comparing").joinpath(_PRESETS_FILE).read_text(encoding="utf-8")
    found: dict[str, tuple[str, tuple[str, ...]]] = {}
    for name, entry in yaml.safe_load(text).items():
        pairs = [(f"--{option}", str(value)) for option, value in entry["overrides"].items()]
        found[name] = (entry["method"], tuple(word for pair in pairs for word in pair))
    return found


def make_rows(
    bundle: Bundle, methods: Sequence[str], weightings: Sequence[str] = (), presets: Sequence[str] = ()
) -> tuple[Row, ...]:
    """Create a row for each method and weighting, then one for each preset and weighting.

    A method whose tasks share nothing has one row whatever the weightings; one with a backbone of its own has no
    ``--encoder``. Every network is built once here, so that
    a wrong option is found before anything is trained.

    Raises:
        ConfigError: a method, weighting or preset is unknown, or named twice.
    """
    known = read_presets()
    for setting, given, allowed in (("--weighting", weightings, list(WEIGHTINGS)), ("--preset", presets, list(known))):
        for name in given:
            if name not in allowed:
                raise ConfigError(setting, f"{name!r} is unknown.", f"Use one of {allowed}.")
    for setting, given in (("--methods", methods), ("--weighting", weightings), ("--preset", presets)):
        if len(set(given)) != len(given):
            raise ConfigError(setting, f"{list(given)} names one twice.", "Name each once.")
    if not methods:
        raise ConfigError("--methods", "there is none.", "Name some, as stl,hps,mtan,ctan.")
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
