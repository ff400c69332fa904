"""The config by which a component is being built: its options, and entries that have moved."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping
from types import FrameType
from typing import Any

from ctan_monai.aliases import CONFIG_IDS, config_id
from ctan_monai.errors import ConfigError

# top-level entries that are no settings of the training: places, and what only this machine or this start decides
_OF_THIS_START = {
    "bundle_root", "output_dir", "cache_dir", "tracking_uri", "save_execute_config", "resume", "workers", "data_on",
    "checkpoint_every", "deterministic", "compile", "device",
}  # fmt: skip


def building_parser() -> Any | None:
    """Return the parser that is building the caller, None where a program builds it without a config.

    MONAI hands its parser to no component, and a config cannot refer to itself; but whoever reads a config
    (`monai.bundle run`, ConfigWorkflow, MonaiAlgo, MONAI Label) builds components below a method of its parser.
    """
    from monai.bundle import ConfigParser

    frame: FrameType | None = sys._getframe()
    while frame is not None:
        if isinstance(owner := frame.f_locals.get("self"), ConfigParser):
            return owner
        frame = frame.f_back
    return None


def option_names(config: Mapping[str, Any]) -> list[str]:
    """List the options of a training's config that settings.json keeps.

    Args:
        config: the content of train.yaml. Its options are the top-level entries above ``tasks``.
    """
    if "settings" in config:  # configs before version 0.1 list them
        return list(config["settings"])
    names = [name for name in config if not name.startswith("_")]
    above = names[: names.index("tasks")] if "tasks" in names else []
    return [name for name in above if name not in _OF_THIS_START]


def options_of(parser: Any) -> dict[str, Any]:
    """Return the options of a training's config and their values.

    Args:
        parser: MONAI's, with all overrides.
    """
    return {name: parser.get_parsed_content(name) for name in option_names(parser.config)}


def check_moved_ids(parser: Any, given: Iterable[str] = ()) -> None:
    """Refuse overrides by ids of configs before version 0.1, naming the new id.

    MONAI would make a new entry of that name, which nothing uses, or end with a KeyError, if what is given lies deeper.
    A config that has the entry there itself is read as it is.

    Args:
        parser: MONAI's, with all overlays and overrides.
        given: ids of overrides that it has not got yet.

    Raises:
        ConfigError: names the old id and the new one.
    """
    names = [f"{each}#".replace("::", "#") for each in given]
    for old, new in CONFIG_IDS.items():
        part, name = old.split("#")
        if new not in parser or config_id(parser, new) != new:
            continue
        section = parser.config.get(part)
        found = (isinstance(section, Mapping) and name in section) or any(each.startswith(f"{old}#") for each in names)
        if found or re.search(rf"@{part}(#|::){name}\b", str(parser.config)):
            reason = f"this entry of the bundle's train.yaml is {new} now, and nothing uses what is given for {old}."
            raise ConfigError(old, reason, f"Write {new} for {old}, in overlays and on the command line.")
