"""Log of a node: one line an event, with pseudonyms only."""

from __future__ import annotations

import json
import logging
import sys
import threading
from typing import Any


class JsonLines(logging.Formatter):
    """Formatter of one JSON object a line: time, level, thread, message."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
        time = self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z")
        content = {"time": time, "level": record.levelname, "thread": record.threadName, "message": record.getMessage()}
        return json.dumps(content)


def log_to_console(as_json: bool = False) -> None:
    """Log to the standard error stream, and keep from it what other libraries say, which may quote data sets."""
    handler = logging.StreamHandler(sys.stderr)
    plain = logging.Formatter("%(asctime)s %(levelname)s %(message)s")
    handler.setFormatter(JsonLines() if as_json else plain)
    own = logging.getLogger("ctan_monai")
    own.handlers, own.propagate = [handler], False
    own.setLevel(logging.INFO)
    silence_others()


def silence_others() -> None:
    """Keep pynetdicom's messages and the tracebacks of its threads from the console: they quote what was received."""
    for name in ("pynetdicom", "pydicom", "uvicorn"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    threading.excepthook = _one_line


def _one_line(args: Any) -> None:
    name = getattr(args.thread, "name", "a thread").partition("@")[0]
    logging.getLogger("ctan_monai.node").warning("%s ended with %s", name, args.exc_type.__name__)
