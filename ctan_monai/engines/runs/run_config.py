"""The config of a run, with the run's options."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ctan_monai.aliases import CONFIG_IDS, config_id, settings_under_all_names
from ctan_monai.config_values import refuse_code
from ctan_monai.engines.runs.manifest import CONFIGS_FOLDER, SETTINGS_FILE
from ctan_monai.errors import CheckpointError


def config_of_run(
    run_dir: str | Path, remedy: str, overlays: Sequence[str] = (), overrides: Mapping[str, Any] | None = None
) -> Any:
    """Parse a run's copy of its config, with the run's options.

    Args:
        run_dir: the run's folder.
        remedy: what helps where there is none.
        overlays: files of the bundle's ``configs`` that are laid over it, such as evaluate.yaml; or over the bundle's
            train.yaml, where the run's is of an earlier form.
        overrides: entries that get other values than in the run.

    Returns:
        MONAI's ConfigParser.

    Raises:
        CheckpointError: the run has no config, an overlay is missing, or they cannot be read.
        ConfigError: a text among its settings would become a part of the config's program.
    """
    from monai.bundle import ConfigParser

    folder = Path(run_dir)
    configs = sorted((folder / CONFIGS_FOLDER).glob("*.yaml"))
    chosen = [path for path in configs if path.name == "train.yaml"] or configs[:1]
    if not chosen:
        raise CheckpointError(folder / CONFIGS_FOLDER, "the run has no copy of its config.", remedy)
    given = dict(overrides or {})
    try:
        settings = json.loads((folder / SETTINGS_FILE).read_text(encoding="utf-8"))
        parser = ConfigParser()
        parser.read_config(str(chosen[0]))
        if overlays:
            parser.update({name: given[name] for name in ("bundle_root",) if name in given})
            root = Path(str(parser.get_parsed_content("bundle_root"))) / "configs"
            moved = any(config_id(parser, name) != name for name in CONFIG_IDS.values())
            below = root / "train.yaml" if moved else chosen[0]  # overlays of today fit no config of an earlier form
            parser = ConfigParser()
            parser.read_config([str(below), *(str(root / name) for name in overlays)])
    except Exception as error:  # a config can name any function
        raise CheckpointError(folder, f"its config and settings cannot be read ({error}).", remedy) from error
    refuse_code(settings, str(folder / SETTINGS_FILE))
    options = {**settings_under_all_names(settings), "output_dir": str(folder)}
    if (folder / "datalist.json").is_file():
        options["datalist"] = str(folder / "datalist.json")  # what was held out stays so
    parser.update({name: value for name, value in options.items() if name in parser.config} | given)
    return parser
