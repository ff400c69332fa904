"""Does a long training grow or slow down? Trains a tiny network for many epochs, with everything that a run has.

    python benchmarks/soak.py --epochs 300

Prints what remains of memory, files, threads and processor time after a warm-up, and leaves with 1 if something grew:
memory by 1 MB or more in 100 epochs, open files or threads at all, processor time per epoch by 5 % or more.
"""

from __future__ import annotations

import argparse
import gc
import os
import resource
import sys
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np

MEMORY_MB, DRIFT = 1.0, 0.05  # in 100 epochs; over the whole run
_HELPERS = Path(__file__).resolve().parents[1] / "tests" / "helpers"


@dataclass(frozen=True)
class Epoch:
    """What a process held after an epoch."""

    memory_mb: float
    files: int
    threads: int
    cpu_s: float


@dataclass(frozen=True)
class Soak:
    """A whole run, without its warm-up.

    Args:
        epochs: of the run.
        memory_mb: slope of the memory, MB in 100 epochs.
        files: most open files at any time, less the fewest.
        threads: the same of threads.
        drift: processor time per epoch in the last third, relative to the first third, less 1.
    """

    epochs: int
    memory_mb: float
    files: int
    threads: int
    drift: float

    @property
    def steady(self) -> bool:
        """Whether nothing grew."""
        return self.memory_mb < MEMORY_MB and self.files == 0 and self.threads == 0 and self.drift < DRIFT

    def __str__(self) -> str:
        """Say it in a line."""
        return (
            f"{self.epochs} epochs: memory {self.memory_mb:+.2f} MB per 100 epochs, files {self.files:+d}, "
            f"threads {self.threads:+d}, processor time per epoch {100 * self.drift:+.1f} %"
        )


def measure() -> Epoch:
    """Look at this process."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    times = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return Epoch(
        memory_mb=pages * resource.getpagesize() / 2**20,
        files=len(os.listdir("/proc/self/fd")),
        threads=threading.active_count(),
        cpu_s=sum(each.ru_utime + each.ru_stime for each in times),
    )


def summarize(found: list[Epoch], warm_up: int) -> Soak:
    """Sum up what was measured after each epoch."""
    later = found[warm_up:]
    memory = np.array([each.memory_mb for each in later])
    seconds = np.diff([each.cpu_s for each in found])[warm_up - 1 :]
    third = len(seconds) // 3
    return Soak(
        epochs=len(found),
        memory_mb=100 * float(np.polyfit(np.arange(len(memory)), memory, 1)[0]),
        files=max(each.files for each in later) - min(each.files for each in later),
        threads=max(each.threads for each in later) - min(each.threads for each in later),
        drift=float(np.median(seconds[-third:]) / np.median(seconds[:third])) - 1,
    )


def soak(epochs: int, folder: Path, workers: int = 0, warm_up: int | None = None) -> Soak:
    """Train and measure.

    Args:
        epochs: how many.
        folder: of the run.
        workers: of the loader.
        warm_up: epochs that do not count; None for a fifth.
    """
    import torch
    from ignite.engine import Events

    sys.path.insert(0, str(_HELPERS)) if str(_HELPERS) not in sys.path else None
    from run_kit import Run

    torch.set_num_threads(1)
    run = Run(folder, epochs=epochs, workers=workers, patience=epochs)
    found: list[Epoch] = []
    run.trainer.add_event_handler(Events.EPOCH_STARTED, lambda: found.append(measure()))
    run.go()
    return summarize(found, epochs // 5 if warm_up is None else warm_up)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=300)
    parser.add_argument("--workers", type=int, default=0, help="processes that load data")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = soak(arguments.epochs, Path(folder) / "run", arguments.workers)
    print(found)
    return 0 if found.steady else 1


if __name__ == "__main__":
    sys.exit(main())
