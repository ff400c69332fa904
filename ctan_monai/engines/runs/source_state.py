"""Which state of this package's source a run was made with."""

from __future__ import annotations

import functools
import subprocess
from pathlib import Path

import ctan_monai

_WAIT_S = 10.0


@functools.cache
def source_state() -> str:
    """Return the git commit of the package's source and whether files differ from it; 'none' for an installed one.

    >>> source_state() == source_state()  # looked up once
    True
    """
    try:
        _git("ls-files", "--error-unmatch", "__init__.py")  # not just installed somewhere inside another repository
        commit = _git("rev-parse", "HEAD")
        changed = _git("status", "--porcelain", "--", ".")
    except (OSError, subprocess.SubprocessError):
        return "none"
    return f"{commit}, changed" if changed else commit


def _git(*arguments: str) -> str:
    place = Path(ctan_monai.__file__).parent
    command = ["git", "-C", str(place), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=_WAIT_S)  # noqa: S603
    return done.stdout.strip()
