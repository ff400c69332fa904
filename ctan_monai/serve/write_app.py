"""Write the folder of an app: a bundle's configs, a run's weights, and the files that start it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from ctan_monai.config_values import refuse_code
from ctan_monai.engines.runs.ensemble import Ensemble
from ctan_monai.engines.runs.manifest import SETTINGS_FILE
from ctan_monai.engines.runs.run_network import answering_network
from ctan_monai.errors import ConfigError, cannot_write
from ctan_monai.files.atomic import replace_text
from ctan_monai.files.json_files import read_json
from ctan_monai.networks import MultiTaskNetwork
from ctan_monai.serve.app_folder import ABOUT, FORMAT, AppFolder, read_app
from ctan_monai.serve.names import check_name
from ctan_monai.serve.origins import checked_origins

_RUN_FILES = ("model.pt", "run.json", "settings.json", "versions.json")
_FILES = {"main.py.txt": "main.py", "start.py.txt": "start.py", "README.md": "README.md"}


def write_app(
    bundle: str | Path, run_dir: str | Path, out: str | Path, upload_mib: float = 1024, origins: Sequence[str] = ()
) -> AppFolder:
    """Write an app for MONAI Label; it needs this package where it runs, but neither the bundle nor the run.

    Args:
        bundle: folder of a bundle.
        run_dir: folder of a run of that bundle.
        out: the app's folder; must not hold anything yet.
        upload_mib: limit of what a request may send, also unpacked.
        origins: of web pages that may ask the server although it did not give them, such as a viewer of its own.

    Raises:
        ConfigError: the bundle has no inference.yaml, a name cannot be used, the run's settings hold an expression,
            or there is something at ``out``.
        CheckpointError: the run cannot be read.
        DataError: it cannot be written.
    """
    bundle, run_dir, out = Path(bundle).resolve(), Path(run_dir), Path(out)
    if not (bundle / "configs" / "inference.yaml").is_file():
        found = f"{bundle} has no configs/inference.yaml."
        raise ConfigError("--bundle", found, "Name the folder of a bundle, such as bundles/prostate.")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError("--out", f"{out} is there already.", "Give another folder, or move it away.")
    if not 0 < upload_mib <= 2**20:
        raise ConfigError("--upload-mib", f"{upload_mib} was found.", "Give a number of MiB, such as 1024.")
    allowed = checked_origins(origins)
    name = check_name(bundle.name, "bundle")
    refuse_code(read_json(run_dir / SETTINGS_FILE), str(run_dir / SETTINGS_FILE))
    network = answering_network(run_dir)
    for task in network.tasks:
        check_name(task.name, "task")
    try:
        _copy(bundle, run_dir, out, name)
    except OSError as error:
        raise cannot_write(out, error) from error
    _write_files(out, name, network, {"upload_mib": upload_mib, "origins": allowed})
    return read_app(out)


def _copy(bundle: Path, run_dir: Path, out: Path, name: str) -> None:
    hidden = shutil.ignore_patterns(".*", "*.key", "__pycache__")  # .pseudonym.key among them
    shutil.copytree(bundle / "configs", out / "bundle" / name / "configs", ignore=hidden)
    (out / "run").mkdir()
    for file in _RUN_FILES:
        if (run_dir / file).is_file():
            shutil.copyfile(run_dir / file, out / "run" / file)


def _write_files(out: Path, name: str, network: MultiTaskNetwork | Ensemble, options: dict[str, Any]) -> None:
    listed = "\n".join(f"* `{task.name}`: {type(task).__name__}" for task in network.tasks)
    for source, target in _FILES.items():
        text = (resources.files("ctan_monai.serve") / "templates" / source).read_text(encoding="utf-8")
        replace_text(out / target, text.replace("{{bundle}}", name).replace("{{models}}", listed))
    content = {"format": FORMAT, "bundle": name, **options}
    replace_text(out / ABOUT, json.dumps(content, indent=1) + "\n")
