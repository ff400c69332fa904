"""Keep folders of the machine out of answers."""

from __future__ import annotations

import json
import os
import re
import site
import sys
import sysconfig
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

LOOKED_THROUGH = (b"application/json", b"text/plain", b"text/html")  # data, and the log


class Folders:
    """Removes the paths of folders, so that the name of a file stays.

    Args:
        folders: of images, the app and sessions; those of Python, of temporary files and the user's home are known.
    """

    def __init__(self, folders: Iterable[str | Path] = ()) -> None:
        known = [*folders, Path.home(), tempfile.gettempdir(), sys.prefix, sys.base_prefix, *site.getsitepackages()]
        known += [sysconfig.get_paths()["stdlib"], os.getcwd(), Path(__file__).parents[2]]
        both = {str(form) for folder in known if str(folder) for form in (Path(folder), Path(folder).resolve())}
        usable = sorted((path for path in both if len(Path(path).parts) > 1), key=len, reverse=True)
        each = "|".join(re.escape(path) for path in usable)
        self._pattern = re.compile(rf"(?:{each})(?:[/\\]+(?:[^/\\\s'\":,;]+[/\\]+)*|(?![\w.-]))")

    def hide(self, text: str) -> str:
        """Remove folders from a text."""
        return self._pattern.sub("", text)

    def hide_in(self, body: bytes, kind: bytes) -> bytes:
        """Remove folders from an answer's body."""
        if not kind.startswith(b"application/json"):
            return self.hide(body.decode("utf-8", "replace")).encode()
        try:
            return json.dumps(self._walk(json.loads(body)), ensure_ascii=False).encode()
        except (ValueError, RecursionError):
            return self.hide(body.decode("utf-8", "replace")).encode()

    def _walk(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.hide(value)
        if isinstance(value, list):
            return [self._walk(each) for each in value]
        return {key: self._walk(each) for key, each in value.items()} if isinstance(value, dict) else value
