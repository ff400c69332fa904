"""Processes of a comparison: each run trains, then evaluates; finished steps are not repeated."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from ctan_monai.apps.comparing.plan import STEPS, Run, command_text
from ctan_monai.engines.runs.resume import LAST_FILE, PREVIOUS_FILE
from ctan_monai.errors import ConfigError
from ctan_monai.files.atomic import replace_text
from ctan_monai.files.json_files import write_json
from ctan_monai.files.lock import hold, release
from ctan_monai.report.compare_files import COMMANDS_FILE

_SET_PDEATHSIG = 1  # prctl: a signal for the child when its parent dies
_PEAK = "peak_memory_mb"
_LOCKED_S = 60.0
_ENDING_S = 60.0


class RunProcess:
    """Run the unfinished steps of a run, one process after the other.

    Args:
        run: what to run.
        threads: of the process.
    """

    def __init__(self, run: Run, threads: int) -> None:
        self.run, self.threads = run, threads
        self.failed = False
        self._process: subprocess.Popen[bytes] | None = None
        self._step, self._started_s = "", 0.0
        self._seen_mb: float | None = None  # the most that its own program was seen to hold
        self._forked_mb = 0.0  # what this process may have lent it until its own program began
        run.folder.mkdir(parents=True, exist_ok=True)
        replace_text(run.folder / COMMANDS_FILE, command_text(run, threads))

    def advance(self) -> bool:
        """Start the next step if none is running; return whether the run goes on."""
        if self._process is not None:
            self._seen_mb = _peak_mb(self._process.pid) or self._seen_mb
            usage = _ended(self._process)
            if usage is None:
                return True
            self._note(self._process.returncode, self._own(usage))
        step = next((step for step in STEPS if not is_done(self.run, step)), None)
        if step is None or self.failed:
            return False
        self._start(step)
        return True

    def ask_to_end(self) -> None:
        """Ask the process to exit after its current step; the next comparison continues it."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()

    def wait_for_end(self) -> None:
        """Wait for a process that was asked to end, with a timeout."""
        if self._process is not None:
            try:
                self._process.wait(_ENDING_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def _start(self, step: str) -> None:
        wait_until_free(self.run.output_dir)
        command = [sys.executable, *self.run.commands[step][1:]]
        environment = {**os.environ, "OMP_NUM_THREADS": str(self.threads)}
        with log_of(self.run, step).open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603  # this Python, with arguments of the user's own
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,  # Ctrl-C is for the comparison, which then asks its runs to end
                preexec_fn=_with_parent(),
            )
        self._step, self._started_s = step, time.monotonic()
        self._seen_mb, self._forked_mb = _peak_mb(self._process.pid), _peak_mb(os.getpid()) or 0.0

    def _own(self, usage: Mapping[str, float]) -> dict[str, float]:
        """Correct the peak memory that the system reports at a process's end, if it may be its parent's.

        Linux counts what a process holds between fork and exec, which is what its parent held, as its own. A peak above
        that is the program's; below it counts what was seen while it ran.
        """
        if self._seen_mb is None or usage.get(_PEAK, 0.0) > self._forked_mb:
            return dict(usage)
        return {**usage, _PEAK: self._seen_mb}

    def _note(self, code: int, usage: Mapping[str, float]) -> None:
        self._process = None
        if code == 0:
            seconds = round(time.monotonic() - self._started_s, 3)
            write_json({"command": list(self.run.commands[self._step]), "seconds": seconds, **usage}, _mark(self))
            if self._step == STEPS[0]:
                self._drop_checkpoints()
        else:
            self.failed = True

    def _drop_checkpoints(self) -> None:
        """Delete checkpoints that only serve to resume a training."""
        for name in (LAST_FILE, PREVIOUS_FILE):
            (self.run.output_dir / name).unlink(missing_ok=True)


def _mark(process: RunProcess) -> Path:
    return mark_of(process.run, process._step)


def mark_of(run: Run, step: str) -> Path:
    """Return the path of the file that marks a step as finished, with its costs."""
    return run.folder / f"{step}.json"


def log_of(run: Run, step: str) -> Path:
    """Return the path of a step's log."""
    return run.folder / f"{step}.log"


def is_done(run: Run, step: str) -> bool:
    """Tell whether a step is finished.

    Raises:
        ConfigError: it is, but by another command.
    """
    mark = mark_of(run, step)
    if not mark.is_file():
        return False
    done = json.loads(mark.read_text(encoding="utf-8"))["command"]
    if tuple(done) != run.commands[step]:
        found = f"{mark} was made by another command: {' '.join(done)}."
        raise ConfigError("--out", found, "Give the same options as then, or another --out.")
    return True


def wait_until_free(folder: Path, seconds: float = _LOCKED_S) -> None:
    """Wait for a training that a killed comparison left behind and that is ending.

    Raises:
        ConfigError: it goes on.
    """
    until = time.monotonic() + seconds
    while folder.is_dir():
        try:
            hold(folder)
        except ConfigError:
            if time.monotonic() > until:
                raise
            time.sleep(0.2)
        else:
            release(folder)
            return


def last_error(run: Run) -> str:
    """Return the most informative line of a failed run's log."""
    for step in reversed(STEPS):
        log = log_of(run, step)
        if log.is_file():
            lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
            errors = [line for line in lines if "Error" in line]
            return (errors or lines or ["it printed nothing"])[-1].strip()
    return "it did not start"


def run_all(runs: list[Run], jobs: int, threads: int, tell: Callable[[], None], pause_s: float = 0.2) -> list[Run]:
    """Run all runs, at most ``jobs`` at once.

    SIGTERM and Ctrl-C ask those that are running to end, and then end the comparison.

    Args:
        runs: in the order in which they are started.
        jobs: how many at a time.
        threads: of each.
        tell: called again and again, to show how far they are.
        pause_s: between two looks at the processes.

    Returns:
        Those that failed.
    """
    waiting, failed = list(runs), []
    running: list[RunProcess] = []
    previous = signal.signal(signal.SIGTERM, _leave)
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                running.append(RunProcess(waiting.pop(0), threads))
            for process in list(running):
                if not process.advance():
                    running.remove(process)
                    failed += [process.run] if process.failed else []
            tell()
            time.sleep(pause_s if running else 0)
    finally:
        for process in running:
            process.ask_to_end()
        for process in running:
            process.wait_for_end()
        signal.signal(signal.SIGTERM, previous)
    return failed


def run_one(run: Run, threads: int) -> bool:
    """Run one run to its end, as a cluster job; return whether it succeeded."""
    return not run_all([run], 1, threads, lambda: None, 1.0)


def _leave(number: int, frame: Any) -> None:
    raise SystemExit(128 + number)


def _ended(process: subprocess.Popen[bytes]) -> dict[str, float] | None:
    """Return the resources used by an ended process, None while it runs."""
    if not hasattr(os, "wait4"):  # Windows
        return None if process.poll() is None else {}
    pid, status, usage = os.wait4(process.pid, os.WNOHANG)
    if pid == 0:
        return None
    process.returncode = os.waitstatus_to_exitcode(status)
    per_mb = 2**20 if sys.platform == "darwin" else 2**10  # ru_maxrss is in bytes there, in kB elsewhere
    return {
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 3),
        _PEAK: round(usage.ru_maxrss / per_mb, 1),
    }


def _peak_mb(pid: int) -> float | None:
    """Return the peak memory of a running process; None if unknown."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    except (OSError, ValueError):
        return None
    found = [int(line.split()[1]) for line in lines if line.startswith("VmHWM:")]
    return round(max(found[0] / 2**10, 0.1), 1) if found else None  # 0: Linux counts pages in batches, none is full yet


def _with_parent() -> Callable[[], Any] | None:
    """Return the ``preexec_fn`` that ends a child with the comparison; Linux only."""
    if not sys.platform.startswith("linux"):
        return None
    return partial(ctypes.CDLL(None).prctl, _SET_PDEATHSIG, signal.SIGTERM)
