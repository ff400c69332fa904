"""Processes that are forked; a module of tests that imports this is skipped where there are none, as on Windows."""

import multiprocessing
from pathlib import Path

import pytest

try:
    processes = multiprocessing.get_context("fork")
except ValueError:
    pytest.skip("needs processes that are forked", allow_module_level=True)


def is_alive(pid):
    """Tell whether a process runs; one that ended and was not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
