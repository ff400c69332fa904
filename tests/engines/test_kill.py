"""Killed at any moment: the file always loads, and the run ends as if nothing had happened."""

import logging
import multiprocessing
import os
import random
import time
from pathlib import Path

import pytest
import torch
from ignite.engine import Events
from run_kit import Run, same, without_seconds

from ctan_monai.data.atomic import remove_leftovers
from ctan_monai.engines.torch_file import load_checked, save_atomic

pytestmark = pytest.mark.faults
KILLS = int(os.environ.get("CTAN_TEST_KILLS", "3"))
EPOCHS = 6
processes = multiprocessing.get_context("fork")


def kill_after(seconds, target, *arguments):
    """Run something in a process of its own and end it by SIGKILL; return it, and whether it was still running."""
    process = processes.Process(target=target, args=arguments)
    process.start()
    process.join(seconds)
    running = process.is_alive()
    process.kill()
    process.join()  # with a time limit it would wait for orphaned workers too
    assert process.exitcode is not None
    return process, running


def save_back_to_back(path, number):
    while True:
        number += 1
        save_atomic(
            {"number": number, "weights": torch.full((200_000,), float(number))}, path, path.with_suffix(".old")
        )


def test_a_file_that_is_saved_back_to_back_loads_after_every_kill(tmp_path):
    draw, path, number = random.Random(0), tmp_path / "last.pt", 0  # noqa: S311
    for _ in range(5 * KILLS):
        kill_after(0.1 + 0.1 * draw.random(), save_back_to_back, path, number)
        found = load_checked(path)
        assert found["weights"].unique().tolist() == [found["number"]]
        assert found["number"] >= number
        number = found["number"]
        remove_leftovers(tmp_path)
        assert sorted(os.listdir(tmp_path)) == ["last.old", "last.pt"]
    assert number > 5 * KILLS


def train(folder, workers):
    os.setsid()  # a process group of its own, by which its workers are found
    torch.set_num_threads(1)
    logging.disable()
    run = Run(folder, epochs=EPOCHS, resume=True, workers=workers)
    run.trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda: time.sleep(0.03))
    run.go()


def living(groups):
    """List the processes of these groups that still run."""
    states = [path.read_text().rsplit(")", 1)[1].split() for path in Path("/proc").glob("[0-9]*/stat")]
    return [state for state in states if int(state[2]) in groups and state[0] != "Z"]


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for surviving processes in /proc")
@pytest.mark.parametrize("workers", [0, 2])
def test_a_training_that_is_killed_at_random_moments_ends_like_one_that_is_not(tmp_path, workers):
    draw, groups, kills = random.Random(workers), set(), 0  # noqa: S311
    Run(tmp_path / "whole", epochs=EPOCHS).go()
    for _ in range(KILLS):
        process, was_running = kill_after(0.1 + 0.4 * draw.random(), train, tmp_path / "killed", workers)
        groups.add(process.pid)
        kills += was_running
    last = processes.Process(target=train, args=(tmp_path / "killed", workers))
    last.start()
    last.join(60)
    assert last.exitcode == 0
    assert kills > 0
    states = [without_seconds(load_checked(tmp_path / name / "last.pt")) for name in ("whole", "killed")]
    assert states[0]["epoch"] == EPOCHS
    assert same(*states) is None
    assert same(*[load_checked(tmp_path / name / "model.pt") for name in ("whole", "killed")]) is None
    deadline = time.monotonic() + 30
    while (left := living(groups)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert left == []
