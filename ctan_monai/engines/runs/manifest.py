"""What a checkpoint says about the run that it is of."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

METRICS_FILE = "metrics.json"

SETTINGS_FILE, CONFIGS_FOLDER = "settings.json", "configs"


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return a run's settings (the seed among them) and the digests of its config files, as its folder has them.

    Args:
        folder: what `RunFolder` made ready; without one, both entries are empty.
    """
    try:
        settings = json.loads((folder / SETTINGS_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        settings = {}
    configs = sorted((folder / CONFIGS_FOLDER).glob("*"))
    digests = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in configs if path.is_file()}
    return {"settings": settings if isinstance(settings, dict) else {}, "configs_sha256": digests}
