"""Ask a bundle's configs what they would build."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from torch import nn

from ctan_monai.engines.runs.parsed_config import option_names
from ctan_monai.engines.runs.run_record import describe, differences
from ctan_monai.errors import ConfigError, find_ctan_error
from ctan_monai.files.json_files import as_json
from ctan_monai.networks import MultiTaskNetwork
from ctan_monai.networks.forms import form_overrides

INFERENCE, TRAIN = "inference.yaml", "train.yaml"


def parsed(bundle: Path, config: str, entry: str, root: Path | None = None) -> Any:
    """Return what an entry of a config becomes, with no option given.

    Args:
        bundle: the bundle's folder.
        config: name of the file.
        entry: id of the entry.
        root: what the config takes for the bundle's folder; None: the folder.

    Raises:
        ConfigError: the config cannot be read, or has no such entry.
    """
    from monai.bundle import ConfigParser

    path = bundle / "configs" / config
    if not path.is_file():
        raise ConfigError("BUNDLE", f"{bundle} has no configs/{config}.", "Name the folder of a whole bundle.")
    try:
        parser = ConfigParser()
        parser.read_config(str(path))
        parser["bundle_root"] = str((root or bundle).resolve())
        if "pretrained" in parser.config:
            parser["pretrained"] = None  # nothing is downloaded to look at a config
        return parser.get_parsed_content(entry)
    except Exception as error:  # a config can name any function, and MONAI wraps what it raises
        found = find_ctan_error(error)
        if found is not None:
            raise found from None
        reason = f"its entry {entry} cannot be used ({type(error).__name__}: {error})."
        raise ConfigError(str(path), reason, "Correct it.") from error


def default_network(bundle: Path) -> MultiTaskNetwork:
    """Build the network of a bundle's inference, with no option given."""
    network = parsed(bundle, INFERENCE, "network_def")
    if not isinstance(network, MultiTaskNetwork):
        found = f"network_def is a {type(network).__name__ if isinstance(network, nn.Module) else repr(network)}."
        raise ConfigError(str(bundle / "configs" / INFERENCE), found, "Use ctan_monai.networks.create_network.")
    return network


def default_settings(bundle: Path) -> dict[str, Any]:
    """Return the options of a bundle's training, with none given."""
    from monai.bundle import ConfigParser

    names = option_names(ConfigParser.load_config_file(str(bundle / "configs" / TRAIN)))
    settings: dict[str, Any] = as_json({name: parsed(bundle, TRAIN, name) for name in names})
    return settings


def form_of(bundle: Path, config: str, text: str, record: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a config must say besides to build the network of a run in the run's form; see `form_overrides`."""
    network, definition = parsed(bundle, config, "network_def"), yaml.safe_load(text).get("network_def")
    if not isinstance(network, MultiTaskNetwork) or not isinstance(definition, Mapping):
        return {}  # `check_builds` says what is wrong
    return form_overrides(network, record, definition)


def check_builds(bundle: Path, record: dict[str, Any]) -> None:
    """See that training and inference build, with no option given, the network that was trained.

    Raises:
        ConfigError: one does not; the message says what differs.
    """
    for config in (INFERENCE, TRAIN):
        if found := differences(record, describe(parsed(bundle, config, "network_def"))):
            raise ConfigError(
                f"BUNDLE, configs/{config}",
                "with the run's settings it builds another network than the one that was trained: "
                + "; ".join(found[:3])
                + ".",
                "Pack the bundle that it was trained with, with the changes to its configs (the run's folder has a "
                "copy of them in configs/).",
            )
