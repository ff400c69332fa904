"""Settings and config files of a run's folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ctan_monai.aliases import OPTIONS, current_settings
from ctan_monai.errors import CheckpointError, ConfigError

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


def run_dirs(run_dir: str | Path | Sequence[str | Path]) -> list[Path]:
    """Return the folders of runs that an option names: one, or a list of several.

    >>> [path.as_posix() for path in run_dirs("[runs/ctan, runs/hps]")]
    ['runs/ctan', 'runs/hps']

    Raises:
        ConfigError: it names none, or one twice.
    """
    text = str(run_dir).strip()
    if isinstance(run_dir, str) and text.startswith("[") and text.endswith("]"):  # as the command line leaves paths
        run_dir = [word.strip().strip("'\"") for word in text[1:-1].split(",") if word.strip()]
    named = [run_dir] if isinstance(run_dir, str | Path) else list(run_dir)
    found = [Path(str(folder)) for folder in named]
    if not found or len(set(found)) < len(found):
        raise ConfigError("--run_dir", f"{run_dir!r} was found.", "Name a run, or several as [runs/a,runs/b].")
    return found


def inference_dir(run_dir: str | Path | Sequence[str | Path]) -> str:
    """Return the folder that a run's predictions have where none is given; an ensemble's lie with its first run."""
    folders = run_dirs(run_dir)
    return str(folders[0] / ("inference" if len(folders) == 1 else "inference_ensemble"))


def run_setting(output_dir: str | Path | Sequence[str | Path], name: str, default: Any = _NONE) -> Any:
    """Return the value of an option in a run's training.

    Where evaluation or inference must agree with the training and the network cannot tell (the size of its images, the
    seed of the split), its config asks for this instead of hoping that the same flag is passed again; the flag still
    wins.

    Args:
        output_dir: the run's folder, or those of an ensemble's.
        name: of the option.
        default: for runs that do not say, such as a federation's; not given: that is an error.

    Raises:
        CheckpointError: there is no run, or it does not say.
        ConfigError: the runs of an ensemble have different values.
    """
    folders = run_dirs(output_dir)
    values = [_setting(folder, name, default) for folder in folders]
    for folder, value in zip(folders[1:], values[1:], strict=True):
        if value != values[0]:
            found = f"the runs differ in {name}: {values[0]} in {folders[0]}, {value} in {folder}."
            raise ConfigError("--run_dir", found, "Name runs with the same inputs, such as folds or seeds.")
    return values[0]


def _setting(folder: Path, name: str, default: Any) -> Any:
    path = folder / SETTINGS_FILE
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
