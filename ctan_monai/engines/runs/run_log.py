"""log.txt: what the console shows, kept with the run."""

from __future__ import annotations

import logging
import re
from pathlib import Path


class _RunLog(logging.FileHandler):
    """The one log file of the present run; where it cannot be written, the run goes on."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line; one that cannot be written is reported as logging reports it, and raises nothing."""
        try:
            super().emit(record)
        except OSError:  # the file is opened with its first line, which FileHandler does not guard
            self.handleError(record)


def without_home(text: str) -> str:
    """Write the user's home folder, which tends to hold a name, as ~, wherever it stands in a text."""
    try:
        home = Path.home()
    except RuntimeError:  # there is none
        return text
    if len(home.parts) < 2:  # the root of all paths
        return text
    return re.sub(rf"(?<![\w.-]){re.escape(str(home))}(?![\w.-])", "~", text)


class _WithoutHome(logging.Formatter):
    """Leave the user's home folder out of lines, and of what caused them."""

    def format(self, record: logging.LogRecord) -> str:
        """Format a line."""
        return without_home(super().format(record))


def log_to(path: Path) -> None:
    """Write everything that is logged from now on to a file too; an earlier run's file is closed.

    Args:
        path: the file, which is continued if it exists.
    """
    end_log()
    handler = _RunLog(path, encoding="utf-8", errors="backslashreplace", delay=True)
    handler.setFormatter(_WithoutHome("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.getLogger().addHandler(handler)


def end_log() -> None:
    """Close the present run's file."""
    root = logging.getLogger()
    for handler in [entry for entry in root.handlers if isinstance(entry, _RunLog)]:
        root.removeHandler(handler)
        handler.close()
