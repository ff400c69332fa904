"""log.txt: what the console shows, kept with the run."""

from __future__ import annotations

import logging
from pathlib import Path


class _RunLog(logging.FileHandler):
    """The one log file of the present run."""


def log_to(path: Path) -> None:
    """Write everything that is logged from now on to a file too; an earlier run's file is closed.

    Args:
        path: the file, which is continued if it exists.
    """
    root = logging.getLogger()
    for handler in [entry for entry in root.handlers if isinstance(entry, _RunLog)]:
        root.removeHandler(handler)
        handler.close()
    handler = _RunLog(path, encoding="utf-8", delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root.addHandler(handler)
