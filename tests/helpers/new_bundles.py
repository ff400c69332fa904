"""Bundles that a page of the documentation tells its reader to make."""

import functools
import tempfile
from pathlib import Path

from markdown_pages import commands
from typer.testing import CliRunner

from ctan_monai.apps.main import app

NEW = "python -m ctan_monai new "
_FOLDERS = []  # kept until the process ends


@functools.cache
def folder_of_new_bundles(page):
    """Write the bundles that a page makes into a folder, and return it; None if it makes none."""
    calls = [call for call in commands(page, NEW) if call and not call[0].startswith("-")]
    if not calls:
        return None
    folder = tempfile.TemporaryDirectory()
    _FOLDERS.append(folder)
    for call in calls:
        done = CliRunner().invoke(app, ["new", *call, "--out", folder.name])
        if done.exit_code:
            raise AssertionError(f"{page}: {' '.join(call)}\n{done.output}")
    return Path(folder.name)
