"""Find a bundle's folder from any working directory."""

from __future__ import annotations

import json
from pathlib import Path

from ctan_monai.errors import ConfigError

_MARKS = ("metadata.json", "train.yaml", "inference.yaml")


def find_bundle_root(name: str) -> str:
    """Return the absolute path of a bundle's folder.

    Looks at the current folder and those above it: whether it is the bundle itself, or has it in ``bundles/<name>`` or
    ``<name>``. MONAI does not tell a config where it lies, so this is what lets one command work from the repository's
    root, from beside the bundle and from its own folder; elsewhere, give ``--bundle_root``.

    Args:
        name: the bundle's name, for example openkbp.

    Raises:
        ConfigError: it is in none of these places; the message lists them.
    """
    here = Path.cwd()
    for folder in (here, *here.parents):
        for candidate in (folder, folder / "bundles" / name, folder / name):
            if _is_bundle(candidate, name):
                return str(candidate)
    raise ConfigError(
        "bundle_root",
        f"the bundle {name} was not found; looked for {here} itself, {here / 'bundles' / name}, {here / name} and the "
        "same in each folder above, for a folder of that name with configs/metadata.json.",
        f"Start from the repository's root, or give --bundle_root path/to/bundles/{name}.",
    )


def _is_bundle(folder: Path, name: str) -> bool:
    """Tell whether a folder is the bundle of a name: it holds configs, and is called so itself or in its metadata."""
    configs = folder / "configs"
    if not any((configs / mark).is_file() for mark in _MARKS):
        return False
    return folder.name == name or _plain(_metadata_name(configs / "metadata.json")).startswith(_plain(name))


def _metadata_name(path: Path) -> str:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    return str(content.get("name", "")) if isinstance(content, dict) else ""


def _plain(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())
