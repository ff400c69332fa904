"""Time and memory of preparing synthetic patients' DICOM, and whether a kill in the middle loses anything.

Synthetic patients are made once (``--cohort`` keeps them). One preparation runs to its end; another, into a folder of
its own with the same pseudonym key, is ended by SIGKILL when half of the cases are there, and run again. Every file of
both must then be the same, but for times in tables.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ctan_monai.data.phantom.cohort import make_cohort

KEY = ".pseudonym.key"


def start(cohort: Path, out: Path, workers: int) -> subprocess.Popen[bytes]:
    """Start a preparation."""
    command = [sys.executable, "-m", "ctan_monai", "prepare", "dicom", "--in", str(cohort), "--out", str(out)]
    return subprocess.Popen([*command, "--workers", str(workers)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def cases(out: Path) -> list[Path]:
    """List the cases that are there."""
    return sorted(out.rglob("*.case"))


def digests(out: Path) -> dict[str, str]:
    """Return a digest of each case."""
    return {str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest() for path in cases(out)}


def run(cohort: Path, out: Path, workers: int) -> tuple[float, float]:
    """Prepare to the end; return seconds and the largest resident set of one process in MB."""
    started = time.perf_counter()
    process = start(cohort, out, workers)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"prepare ended with {process.returncode}")
    return time.perf_counter() - started, usage.ru_maxrss / 1024


def kill_halfway(cohort: Path, out: Path, workers: int, count: int) -> int:
    """Prepare until half of the cases are there, then kill; return how many there were."""
    process = start(cohort, out, workers)
    while process.poll() is None and len(cases(out)) < count // 2:
        time.sleep(0.05)
    process.kill()
    process.wait()
    return len(cases(out))


def main() -> None:
    """Make patients, prepare them twice, compare, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--patients", type=int, default=50)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--cohort", type=Path, help="folder to keep the synthetic patients in")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        cohort = arguments.cohort or folder / "cohort"
        started = time.perf_counter()
        make_cohort(cohort, arguments.patients, seed=0, progress=False)
        print(f"{arguments.patients} synthetic patients there after {time.perf_counter() - started:.0f} s", flush=True)
        whole, halved = folder / "whole", folder / "halved"
        seconds, peak_mb = run(cohort, whole, arguments.workers)
        count = len(cases(whole))
        print(f"{count} cases in {seconds:.0f} s: {seconds / count:.2f} s each, {peak_mb:.0f} MB at most", flush=True)
        halved.mkdir()
        shutil.copy(whole / KEY, halved / KEY)
        there = kill_halfway(cohort, halved, arguments.workers, count)
        rest, _ = run(cohort, halved, arguments.workers)
        same = digests(halved) == digests(whole)
        print(f"killed with {there} cases, continued for {rest:.0f} s: {'identical' if same else 'NOT THE SAME'}")
        if not same:
            sys.exit(1)


if __name__ == "__main__":
    main()
