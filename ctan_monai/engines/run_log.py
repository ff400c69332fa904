"""log.txt: what the console shows, kept with the run."""

from __future__ import annotations

import logging
from pathlib import Path


class _RunLog(logging.FileHandler):
    """The one log file of the present run; where it cannot be written, the run goes on."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line; one that cannot be written is reported as logging reports it, and raises nothing."""
        try:
            super().emit(record)
        except OSError:  # the file is opened with its first line, which FileHandler does not guard
            self.handleError(record)


def log_to(path: Path) -> None:
    """Write everything that is logged from now on to a file too; an earlier run's file is closed.

    Args:
        path: the file, which is continued if it exists.
    """
    end_log()
    handler = _RunLog(path, encoding="utf-8", delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.getLogger().addHandler(handler)


def end_log() -> None:
    """Close the present run's file."""
    root = logging.getLogger()
    for handler in [entry for entry in root.handlers if isinstance(entry, _RunLog)]:
        root.removeHandler(handler)
        handler.close()
