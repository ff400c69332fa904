"""A folder for predictions that are never written over earlier ones."""

from __future__ import annotations

import logging
from datetime import datetime
from pathlib import Path

from ctan_monai import __version__
from ctan_monai.engines.distributed.processes import rank, wait_for_all
from ctan_monai.engines.runs.run_folder import move_aside
from ctan_monai.errors import ConfigError
from ctan_monai.files.json_files import write_json

_logger = logging.getLogger(__name__)
WRITTEN_JSON = "written.json"


def fresh_folder(output_dir: str | Path) -> Path:
    """Make a folder ready, in a config's ``initialize``; one that holds earlier predictions is moved aside first.

    It becomes ``NAME.1``, ``NAME.2`` and so on, as with the folder of a run. The new one gets ``written.json``, by
    which it is known again, and which `WriteDicom` completes. Of several processes the first does this.

    Args:
        output_dir: the folder.

    Raises:
        ConfigError: it holds something else, or cannot be moved.
        CheckpointError: it cannot be written.
    """
    folder = Path(str(output_dir))
    if rank() == 0:
        _make(folder)
    wait_for_all()
    return folder


def _make(folder: Path) -> None:
    if folder.is_file():
        raise ConfigError("--output_dir", f"{folder}: it is a file.", "Give a folder.")
    held = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    if held and WRITTEN_JSON not in held:
        reason = f"{folder} holds {', '.join(held[:3])} and no {WRITTEN_JSON}; it is no folder of predictions."
        raise ConfigError("--output_dir", reason, "Give a folder that is empty or not there.")
    if held:
        _logger.info("%s holds earlier predictions, which are now in %s.", folder, move_aside(folder))
    started = datetime.now().astimezone().isoformat(timespec="seconds")
    write_json({"software": f"ctan_monai {__version__}", "started": started, "complete": False}, folder / WRITTEN_JSON)
