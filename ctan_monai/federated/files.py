"""Files and keys that sites and server share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ctan_monai.config_values import refuse_code
from ctan_monai.errors import ConfigError

ROUNDS_FILE = "rounds.json"
STATE_FILE = "last.pt"  # the common network after the last complete round
RECORD_FILE = "federation.json"  # what a federation consists of, to continue the same
RUN_RECORD = "run_record"  # of a request: run.json of the common network, if there is one
STOPPED = "stopped"  # of rounds.json: why no further round came
ASK, INITIAL, MEASURE, TRAIN = "ask", "initial", "measure", "train"  # what the server wants


def read_options(path: str | Path) -> dict[str, Any]:
    """Read the JSON file of a site's own options.

    Raises:
        ConfigError: it cannot be read, is no dictionary, or a text in it would become a part of the config's program.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        remedy = 'Write {"dataset_dir": "...", "cache_dir": "..."}.'
        raise ConfigError("site file", f"{path} cannot be read ({error}).", remedy) from error
    if not isinstance(content, dict):
        raise ConfigError("site file", f"{path} is no dictionary.", 'Write {"dataset_dir": "..."}.')
    refuse_code(content, str(path))
    return content
