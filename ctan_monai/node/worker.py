"""A process for predictions, as the node sees it: it can break down or be killed without the node."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

from ctan_monai.files.json_files import read_json
from ctan_monai.node.work import EXIT_FAULT, RESULT_FILE

_JOBS_MAX = 50  # of a process; a new one then gives back what libraries keep
_TICK_S = 0.02


class Worker:
    """Process that makes one prediction after the other; another takes its place when it ends.

    Args:
        stopping: set when the node ends.
        minutes: a prediction that takes longer is ended.
    """

    def __init__(self, stopping: threading.Event, minutes: float) -> None:
        self.stopping, self.minutes = stopping, minutes
        self._process: subprocess.Popen[str] | None = None
        self._jobs = 0

    def warm_up(self) -> None:
        """Start the process, unless it runs."""
        if self._process is not None and self._process.poll() is None and self._jobs < _JOBS_MAX:
            return
        self.end()
        self._process = subprocess.Popen(  # this Python, with a program of ours
            [sys.executable, "-m", "ctan_monai.node.work"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._jobs = 0

    def run(self, job: Path) -> tuple[int, str]:
        """Run a job.

        Args:
            job: JSON file, see `work.run`.

        Returns:
            A code of `work`, and the reason of a failure.
        """
        self.warm_up()
        process, result, end = self._process, job.parent / RESULT_FILE, time.monotonic() + 60 * self.minutes
        if process is None or process.stdin is None:
            return EXIT_FAULT, "its process could not be started."
        self._jobs += 1
        try:
            process.stdin.write(f"{job}\n")
            process.stdin.flush()
        except OSError:
            return EXIT_FAULT, "its process had ended."
        while not result.is_file():
            if self.stopping.is_set() or time.monotonic() > end:
                self.end()
                return EXIT_FAULT, f"it took longer than job_minutes ({self.minutes:g})."
            if process.poll() is not None:
                return EXIT_FAULT, f"its process ended with code {process.returncode}."
            time.sleep(_TICK_S)
        found = read_json(result) or {}
        return int(found.get("code", EXIT_FAULT)), str(found.get("reason", ""))

    def end(self) -> None:
        """Kill the process."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None
