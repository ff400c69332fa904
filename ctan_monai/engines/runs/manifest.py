"""Settings and config files of a run's folder."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from ctan_monai.aliases import OPTIONS, current_settings
from ctan_monai.errors import CheckpointError

METRICS_FILE = "metrics.json"

SETTINGS_FILE, CONFIGS_FOLDER = "settings.json", "configs"


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return a run's settings (the seed among them) and the digests of its config files.

    Args:
        folder: what `RunFolder` made ready; without one, both entries are empty.
    """
    try:
        settings = json.loads((folder / SETTINGS_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        settings = {}
    configs = sorted((folder / CONFIGS_FOLDER).glob("*"))
    digests = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in configs if path.is_file()}
    return {"settings": current_settings(settings) if isinstance(settings, dict) else {}, "configs_sha256": digests}


_NONE = object()


def run_setting(output_dir: str | Path, name: str, default: Any = _NONE) -> Any:
    """Return the value of an option in a run's training.

    Where evaluation or inference must agree with the training and the network cannot tell (the size of its images, the
    seed of the split), its config asks for this instead of hoping that the same flag is passed again; the flag still
    wins.

    Args:
        output_dir: the run's folder.
        name: of the option.
        default: for runs that do not say, such as a federation's; not given: that is an error.

    Raises:
        CheckpointError: there is no run, or it does not say.
    """
    path = Path(str(output_dir)) / SETTINGS_FILE
    if default is not _NONE and not path.exists():
        return default
    name = OPTIONS.get(name, name)
    remedy = f"Train first, name a run's folder, or pass --{name}."
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(path, f"the settings of the run cannot be read ({error}).", remedy) from error
    if isinstance(settings, dict):
        settings = current_settings(settings)
    if isinstance(settings, dict) and default is not _NONE:
        return settings.get(name, default)
    if not isinstance(settings, dict) or name not in settings:
        raise CheckpointError(path, f"it does not say {name}.", remedy)
    return settings[name]
