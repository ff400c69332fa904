"""Does a long training grow or slow down? Trains a tiny network for many epochs, with everything that a run has.

    python benchmarks/soak.py --epochs 300 [--workers 2]
    python benchmarks/soak.py --saving resnet50 --epochs 15

Prints what remains of memory, files, threads and processor time after a warm-up, and leaves with 1 if something grew:
memory by 1 MB or more in 100 epochs, open files or threads at all, processor time per epoch by 5 % or more. The second
form trains a CTAN and prints how long the epochs' ends hold up training, with last.pt saved after each epoch and by a
thread; validations, which come every second epoch, do not count.
"""

from __future__ import annotations

import argparse
import gc
import logging
import os
import platform
import resource
import shutil
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

MEMORY_MB, DRIFT = 1.0, 0.05  # in 100 epochs; over the whole run
_HELPERS = Path(__file__).resolve().parents[1] / "tests" / "helpers"


@dataclass(frozen=True)
class Epoch:
    """What a process, and those that load its data, held after an epoch."""

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
    """Look at this process and its children."""
    gc.collect()
    children = " ".join(path.read_text(encoding="ascii") for path in Path("/proc/self/task").glob("*/children")).split()
    pages = sum(int(Path(f"/proc/{each}/statm").read_text(encoding="ascii").split()[1]) for each in ("self", *children))
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


class Clock:
    """Trainer's handler, the first: measure in seconds what stands between an epoch's last step and the next one."""

    def __init__(self) -> None:
        self.steps_s: list[float] = []
        self.ends_s: list[float] = []
        self._at = 0.0

    def attach(self, engine: Any) -> None:
        """Attach to a trainer."""
        from ignite.engine import Events

        engine.add_event_handler(Events.EPOCH_COMPLETED, lambda: self._take(self.steps_s))
        engine.add_event_handler(Events.EPOCH_STARTED, lambda: self._take(self.ends_s))

    def _take(self, found: list[float]) -> None:
        now = time.perf_counter()
        found.append(now - self._at)
        self._at = now


def measure_saving(encoder: str, epochs: int, folder: Path, device: str) -> None:
    """Print how long the ends of epochs hold up the training of a CTAN."""
    import torch

    sys.path.insert(0, str(_HELPERS)) if str(_HELPERS) not in sys.path else None
    from run_kit import TASKS, Run

    from ctan_monai.networks import create_network

    torch.set_num_threads(1)
    logging.disable()
    print(f"torch {torch.__version__}, 1 thread, {platform.machine()}, {os.cpu_count()} cores, {device}")
    print(f"ctan, {encoder}, {epochs} epochs of 3 steps of 2 images; medians in seconds (and the largest)")
    print(f"{'checkpoint_every':20}{'last.pt MB':>11}{'end of an epoch':>18}{'3 steps':>18}")
    for name, minutes in (("0", 0.0), ("as fast as possible", 1e-9), ("60", 60.0)):
        clock = Clock()
        made = {"network": lambda: create_network("ctan", TASKS, encoder, spatial_dims=2), "train_handlers": [clock]}
        how = {"validate_every": 2, "patience": epochs, "checkpoint_every": minutes, "device": device, "size": 64}
        run = Run(folder, epochs, schedule="step", **made, **how)
        run.optimizer.param_groups[0]["lr"] = 1e-5  # the kit's is that of its tiny network
        run.go()
        megabytes = (folder / "last.pt").stat().st_size / 1e6
        ends, steps = clock.ends_s[3::2], clock.steps_s[2::2]  # ends of the third epoch, of the fifth ...
        texts = [f"{float(np.median(found)):.2f} ({max(found):.2f})" for found in (ends, steps)]
        print(f"{name:20}{megabytes:11.0f}{texts[0]:>18}{texts[1]:>18}")
        shutil.rmtree(folder)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=300)
    parser.add_argument("--workers", type=int, default=0, help="processes that load data")
    parser.add_argument("--saving", metavar="ENCODER", help="measure how long last.pt holds up a CTAN instead")
    parser.add_argument("--device", default="cpu", help="of --saving")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if arguments.saving:
            measure_saving(arguments.saving, arguments.epochs, Path(folder) / "run", arguments.device)
            return 0
        found = soak(arguments.epochs, Path(folder) / "run", arguments.workers)
    print(f"{arguments.workers} workers, {found}")
    return 0 if found.steady else 1


if __name__ == "__main__":
    sys.exit(main())
