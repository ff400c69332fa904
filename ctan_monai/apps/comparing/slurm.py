"""Runs of a comparison as jobs of a Slurm cluster, through submitit."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ctan_monai.apps.comparing.bundle import read_overrides
from ctan_monai.apps.comparing.plan import Run
from ctan_monai.apps.comparing.runs import run_one
from ctan_monai.errors import ConfigError, install

_PAUSE_S = 2.0
LOCAL = "local"  # submitit's own executor on this machine, to try it out
_MINUTES_A_DAY = 24 * 60


def submit_all(runs: Sequence[Run], threads: int, out: Path, options: str, tell: Callable[[], None]) -> list[Run]:
    """Submit each run as a job and wait for all; return those that failed.

    Args:
        runs: what to do.
        threads: of each.
        out: the comparison's folder, which the cluster's nodes must see too; submitit's logs go to ``slurm``.
        options: of sbatch, as ``partition=gpu,time=240``; 'local' runs the jobs on this machine.
        tell: called again and again, to show how far they are.

    Raises:
        ConfigError: submitit is not installed, an option is unknown, or there is no cluster here.
    """
    try:
        import submitit
    except ImportError as error:
        remedy = f"Run {install('slurm', 'submitit')}; or leave out --slurm."
        raise ConfigError("--slurm", "submitit is not installed.", remedy) from error
    local = options.strip() == LOCAL
    try:
        executor: Any = submitit.AutoExecutor(folder=str(out / "slurm"), cluster=LOCAL if local else "slurm")
        executor.update_parameters(name="ctan-compare", cpus_per_task=threads, timeout_min=_MINUTES_A_DAY)
        if not local:
            executor.update_parameters(**{f"slurm_{name}": value for name, value in _pairs(options).items()})
    except (RuntimeError, NameError, ValueError) as error:
        raise ConfigError("--slurm", f"{options!r}: {error}", "Give options of sbatch, as partition=gpu.") from error
    jobs = [(run, executor.submit(run_one, run, threads)) for run in runs]
    try:
        while not all(job.done() for _, job in jobs):
            tell()
            time.sleep(_PAUSE_S)
    except BaseException:
        for _, job in jobs:
            job.cancel()
        raise
    tell()
    return [run for run, job in jobs if not _succeeded(job)]


def _pairs(options: str) -> dict[str, Any]:
    return read_overrides([f"--{pair.strip()}" for pair in options.split(",") if pair.strip()])


def _succeeded(job: Any) -> bool:
    error = job.exception()
    return error is None and bool(job.result())
