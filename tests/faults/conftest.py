"""A disk that is small enough to fill up."""

import os
import subprocess

import pytest


@pytest.fixture
def small_disk(tmp_path):
    """Return ``mount(bytes)`` -> folder of a tmpfs of this size; skips, visibly, where nothing can be mounted."""
    mounted = []

    def mount(size_bytes):
        folder = tmp_path / f"disk{len(mounted)}"
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "none", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False) if os.geteuid() == 0 else None
        if done is None or done.returncode:
            pytest.skip(f"cannot mount a tmpfs ({'not root' if done is None else done.stderr.strip()})")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "-l", str(folder)], check=True)
