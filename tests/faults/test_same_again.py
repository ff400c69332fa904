"""The same seed gives the same run: with one thread, with two, and with any number of loader workers."""

import logging
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import pytest
import run_kit
import torch
from forked import processes
from run_kit import Run, same, without_seconds

from ctan_monai.engines.runs.torch_file import load_checked

pytestmark = pytest.mark.faults
SCRIPT = "import sys; from test_same_again import train; train(sys.argv[1], *map(int, sys.argv[2:]))"


def train(folder, threads, workers, epochs):
    torch.set_num_threads(threads)
    logging.disable()
    Run(Path(folder), epochs=epochs, workers=workers).go()


def fork(*arguments):
    process = processes.Process(target=train, args=arguments)
    process.start()
    process.join(300)
    assert process.exitcode == 0


def start_python(folder, threads, *numbers):
    """Train in a new interpreter, whose hashes of texts are others."""
    helpers = [str(Path(run_kit.__file__).parent), str(Path(__file__).parent)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONPATH": os.pathsep.join(helpers)}
    environment["PYTHONHASHSEED"] = "5"
    arguments = [str(argument) for argument in (folder, threads, *numbers)]
    subprocess.run([sys.executable, "-c", SCRIPT, *arguments], env=environment, check=True)


def result(folder):
    last = without_seconds(load_checked(folder / "last.pt"))
    return {**last, "model": load_checked(folder / "model.pt")}


@pytest.mark.promise(8, "1 or 2 threads fixed, 0 or 2 workers, another process: the same run to the bit")
@pytest.mark.skipif((multiprocessing.cpu_count() or 1) < 2, reason="needs two processors")
@pytest.mark.parametrize("threads", [1, 2])
def test_the_same_seed_trains_the_same_to_the_bit(tmp_path, threads, count, record):
    epochs = count(2, 8)
    ways = {"a": (fork, 0), "b": (fork, 0), "c": (fork, 2)}
    if count(0, 1):
        ways["d"] = (start_python, 2)
    for name, (start, workers) in ways.items():
        start(tmp_path / name, threads, workers, epochs)
    first = result(tmp_path / "a")
    assert first["epoch"] == epochs
    assert first["versions"]["threads"] == str(threads)
    for name in ways:
        assert same(result(tmp_path / name), first) is None, name
    record(f"{threads} threads: {len(ways)} runs of {epochs} epochs are equal, with 0 and 2 workers")
