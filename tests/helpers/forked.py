"""Processes that are forked; a module of tests that imports this is skipped where there are none, as on Windows."""

import multiprocessing

import pytest

try:
    processes = multiprocessing.get_context("fork")
except ValueError:
    pytest.skip("needs processes that are forked", allow_module_level=True)
