"""No process that loads data outlives its training, whenever that is killed."""

import os
import time
from functools import partial
from pathlib import Path

import pytest
from forked import is_alive, processes
from torch.utils.data import DataLoader, RandomSampler

from ctan_monai.engines.loop.sampler import EndWithParent, end_workers_with_parent


def start_slowly(folder, worker):
    """Say that the worker is there, before torch has made it look for its parent."""
    (folder / str(os.getpid())).touch()
    time.sleep(1)


def load(folder, guarded):
    os.setsid()
    loader = DataLoader(range(4), num_workers=1, worker_init_fn=partial(start_slowly, folder))
    if guarded:
        end_workers_with_parent(loader)
    list(loader)
    time.sleep(60)


def survives(folder, guarded, seconds):
    """Kill a process whose worker is just starting; return whether that is there after some seconds."""
    folder.mkdir()
    parent = processes.Process(target=load, args=(folder, guarded))
    parent.start()
    until = time.monotonic() + 30
    while not (started := list(folder.iterdir())) and time.monotonic() < until:
        time.sleep(0.02)
    parent.kill()
    parent.join()
    worker = int(started[0].name)
    end = time.monotonic() + seconds
    while is_alive(worker) and time.monotonic() < end:
        time.sleep(0.1)
    found = is_alive(worker)
    if found:
        os.kill(worker, 9)
    return found


@pytest.mark.faults
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for surviving processes in /proc")
@pytest.mark.promise(1, "a worker whose training is killed while it starts ends too")
def test_a_worker_whose_parent_is_killed_while_it_starts_ends(tmp_path):
    assert not survives(tmp_path / "guarded", True, 10)
    assert survives(tmp_path / "plain", False, 8), "torch looks after this by itself now: the guard can go"


def test_what_the_loader_had_to_do_at_the_start_is_done_still_and_once():
    seen = []
    loader = DataLoader(range(2), num_workers=1, worker_init_fn=seen.append)
    end_workers_with_parent(loader)
    end_workers_with_parent(loader)
    assert isinstance(loader.worker_init_fn, EndWithParent)
    loader.worker_init_fn(5)
    assert seen == [5]


def test_loaders_without_workers_stay_as_they_are():
    loader = DataLoader(range(2), sampler=RandomSampler(range(2)))
    end_workers_with_parent(loader)
    assert loader.worker_init_fn is None
    end_workers_with_parent([1, 2])
