"""Killed at any moment: the file always loads, and the run ends as if nothing had happened."""

import json
import logging
import os
import random
import signal
import time
from pathlib import Path

import pytest
import torch
from forked import processes
from ignite.engine import Events
from run_kit import TASKS, Run, same, without_seconds

from ctan_monai.engines.handlers.signal_handler import StopOnSignal
from ctan_monai.engines.runs.resume import newest_checkpoint
from ctan_monai.engines.runs.torch_file import load_checked, save_atomic
from ctan_monai.files.atomic import remove_leftovers
from ctan_monai.networks import create_network

pytestmark = pytest.mark.faults
EPOCHS = 6


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


@pytest.mark.promise(1, "a file that is saved back to back loads after every kill, and nothing else is left")
def test_a_file_that_is_saved_back_to_back_loads_after_every_kill(tmp_path, count, record):
    draw, path, number, kills = random.Random(0), tmp_path / "last.pt", 0, count(15, 200)  # noqa: S311
    for _ in range(kills):
        kill_after(0.1 + 0.1 * draw.random(), save_back_to_back, path, number)
        found = load_checked(path)
        assert found["weights"].unique().tolist() == [found["number"]]
        assert found["number"] >= number
        number = found["number"]
        remove_leftovers(tmp_path)
        assert sorted(os.listdir(tmp_path)) == ["last.old", "last.pt"]
    assert number > kills
    record(f"{kills} kills in {number} saves: {kills} files whole")


def train(folder, workers, epoch=None, before=None, every=0.0):
    """Train; ``epoch`` is a shared number that tells which epoch is under way."""
    os.setsid()  # a process group of its own, by which its workers are found
    torch.set_num_threads(1)
    logging.disable()
    if before is not None:
        before()
    options = {"resume": True, "workers": workers, "checkpoint_every": every}
    run = Run(folder, epochs=EPOCHS, train_handlers=[StopOnSignal()], **options)
    if epoch is not None:
        run.trainer.add_event_handler(Events.EPOCH_STARTED, lambda: setattr(epoch, "value", run.trainer.state.epoch))
    run.trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda: time.sleep(0.03))
    run.go()


def living(groups):
    """List the processes of these groups that still run."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state = path.read_text().rsplit(")", 1)[1].split()
        except OSError:  # it has ended since
            continue
        if int(state[2]) in groups and state[0] != "Z":
            found.append(path.parent.name)
    return found


def saved_epoch(folder):
    found = newest_checkpoint(folder) if folder.is_dir() else None
    return found[1]["epoch"] if found else 0


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Folder of a run that nothing ended."""
    folder = tmp_path_factory.mktemp("kill") / "whole"
    Run(folder, epochs=EPOCHS).go()
    return folder


def finish(folder, workers, whole, every=0.0):
    """Go on until the end, and compare with the run that nothing ended."""
    last = processes.Process(target=train, args=(folder, workers, None, None, every))
    last.start()
    last.join(120)
    assert last.exitcode == 0
    states = [without_seconds(load_checked(path / "last.pt")) for path in (whole, folder)]
    assert states[0]["epoch"] == EPOCHS
    assert same(*states) is None
    assert same(*[load_checked(path / "model.pt") for path in (whole, folder)]) is None


@pytest.mark.promise(1, "killed twice at random and resumed, a run ends equal to the bit; one epoch is lost at most")
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for surviving processes in /proc")
@pytest.mark.parametrize("workers", [0, 2])
def test_a_training_that_is_killed_at_random_moments_ends_like_one_that_is_not(tmp_path, workers, whole, count, record):
    draw, groups, kills, lost = random.Random(workers), set(), 0, 0  # noqa: S311
    runs = count(2, 50)
    for number in range(runs):
        folder = tmp_path / str(number)
        for _ in range(2):
            epoch = processes.Value("i", 0)
            process, was_running = kill_after(0.1 + 0.5 * draw.random(), train, folder, workers, epoch)
            groups.add(process.pid)
            kills += was_running
            lost = max(lost, epoch.value - saved_epoch(folder))
        finish(folder, workers, whole)
    assert lost <= 1
    assert kills > runs / 2
    deadline = time.monotonic() + 30
    while (left := living(groups)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert left == []
    record(
        f"{workers} workers: {runs} of {runs} runs with {kills} kills equal, {lost} epoch lost at most, none survives"
    )


def ctan():
    return create_network("ctan", TASKS, encoder="resnet18", spatial_dims=2)


def train_ctan(folder):
    os.setsid()
    torch.set_num_threads(1)
    logging.disable()
    Run(folder, epochs=3, resume=True, network=ctan).go()


@pytest.mark.promise(1, "a CTAN (ResNet-18, DWA) that is killed twice and resumed ends equal to the bit")
@pytest.mark.slow
def test_a_ctan_that_is_killed_ends_like_one_that_is_not(tmp_path, count, record):
    if not count(0, 1):
        pytest.skip("writes gigabytes; in the long form only")
    draw, kills = random.Random(5), 0  # noqa: S311
    begun = time.monotonic()
    whole = processes.Process(target=train_ctan, args=(tmp_path / "whole",))
    whole.start()
    whole.join(300)
    took_s = time.monotonic() - begun
    for _ in range(2):
        kills += kill_after(took_s * (0.3 + 0.3 * draw.random()), train_ctan, tmp_path / "killed")[1]
    last = processes.Process(target=train_ctan, args=(tmp_path / "killed",))
    last.start()
    last.join(300)
    assert (whole.exitcode, last.exitcode) == (0, 0)
    assert kills > 0
    states = [without_seconds(load_checked(tmp_path / name / "last.pt")) for name in ("whole", "killed")]
    assert states[0]["epoch"] == 3
    assert same(*states) is None
    record(f"{kills} kills in 3 epochs of {took_s / 3:.0f} s: equal")


def kill_at(name, call):
    """Return a function that makes this process kill itself when it calls ``os.<name>`` for the n-th time."""

    def before():
        real, calls = getattr(os, name), []

        def die(*arguments, **options):
            calls.append(name)
            if len(calls) == call:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments, **options)

        setattr(os, name, die)

    return before


@pytest.mark.promise(1, "killed at each step of a save (each sync, link, rename), a run ends equal to the bit")
@pytest.mark.parametrize("name", ["fsync", "link", "replace"])
def test_a_training_that_is_killed_inside_a_save_ends_like_one_that_is_not(tmp_path, name, whole, count, record):
    calls = count(2, 20)
    for call in range(1, calls + 1):
        folder = tmp_path / str(call)
        process = processes.Process(target=train, args=(folder, 0, None, kill_at(name, call)))
        process.start()
        process.join(120)
        assert process.exitcode in (-signal.SIGKILL, 0)
        finish(folder, 0, whole)
    record(f"os.{name}: {calls} of {calls} runs equal")


def check_files(folder):
    """Compare the epochs of metrics.json and model.pt with that of last.pt, which they may not be ahead of."""
    saved = saved_epoch(folder)
    path = folder / "metrics.json"
    history = json.loads(path.read_text()) if path.exists() else {"epochs": [], "best": {}}
    assert max([0, *(epoch["epoch"] for epoch in history["epochs"])]) <= saved
    assert max([0, *(best["epoch"] for best in history["best"].values())]) <= saved
    assert (folder / "last.pt").exists() or not (folder / "model.pt").exists()


@pytest.mark.promise(1, "saved by a thread, and killed at random and inside saves, a run ends equal to the bit")
def test_a_training_whose_checkpoint_a_thread_writes_can_be_killed(tmp_path, whole, count, record):
    draw, runs, kills, lost, every = random.Random(8), count(1, 20), 0, 0, 1e-4  # noqa: S311
    moments = [kill_at(name, call) for call in range(1, runs + 1) for name in ("fsync", "link", "replace")]
    for number, moment in enumerate([*[None] * runs, *moments]):
        folder, epoch = tmp_path / str(number), processes.Value("i", 0)
        seconds = 60 if moment else 0.3 + 0.5 * draw.random()
        kills += kill_after(seconds, train, folder, 2 * (number % 2), epoch, moment, every)[0].exitcode < 0
        check_files(folder)
        lost = max(lost, epoch.value - saved_epoch(folder))
        finish(folder, 0, whole, every)
        check_files(folder)
    assert kills >= runs
    record(f"{4 * runs} of {4 * runs} runs with {kills} kills equal, {lost} epochs lost at most")


@pytest.mark.promise(1, "SIGTERM and SIGINT end a training within 10 s with 143 and 130; resumed, it ends equal")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_a_training_in_time(tmp_path, number, code, whole, count, record):
    draw, slowest_s, runs = random.Random(code), 0.0, count(1, 10)  # noqa: S311
    for run in range(runs):
        epoch = processes.Value("i", 0)
        process = processes.Process(target=train, args=(tmp_path / str(run), 2, epoch))
        process.start()
        while not epoch.value:  # handlers are in place
            time.sleep(0.01)
        time.sleep(0.3 * draw.random())
        begun = time.monotonic()
        os.kill(process.pid, number)
        process.join(60)
        slowest_s = max(slowest_s, time.monotonic() - begun)
        assert process.exitcode == code
        finish(tmp_path / str(run), 2, whole)
    assert slowest_s < 10
    record(f"{number.name}: {runs} runs, {slowest_s:.1f} s at most, exit code {code}")
