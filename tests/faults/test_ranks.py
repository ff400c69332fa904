"""Two processes that train together: one is killed or stopped, all end, and the run goes on."""

import logging
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import ranks
import torch.distributed as dist
from forked import is_alive, processes
from run_kit import same, without_seconds

from ctan_monai.engines.runs.torch_file import load_checked

pytestmark = [
    pytest.mark.faults,
    pytest.mark.dist,
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for surviving processes in /proc"),
]
LOST = {"killed": (signal.SIGKILL, 1), "stopped": (signal.SIGSTOP, 0)}  # process 0 has the meeting point
LIMIT_S = 60.0
EPOCHS = 5


def start(folder, epochs=EPOCHS, resume=False):
    """Start both processes."""
    Path(f"{folder}_pids").mkdir(exist_ok=True)
    for path in Path(f"{folder}_pids").iterdir():
        path.unlink()
    command = ["-m", "torch.distributed.run", "--nproc_per_node=2", "--master_port=0", "--standalone"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    arguments = [ranks.__file__, str(folder), str(epochs), str(resume)]
    return subprocess.Popen(
        [sys.executable, *command, *arguments], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )


def wait_for(path, seconds=240.0):
    until = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < until, path
        time.sleep(0.02)


def alone(rank, port, folder, resume):
    """Be one of two processes that this test started."""
    logging.disable()
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    ranks.train(folder, EPOCHS, resume, silence_s=4.0)


def start_both(folder, resume=False):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    Path(f"{folder}_pids").mkdir(exist_ok=True)
    both = [processes.Process(target=alone, args=(rank, port, folder, resume)) for rank in range(2)]
    for process in both:
        process.start()
    return both


def finish(both, seconds=240):
    try:
        for process in both:
            process.join(seconds)
        return [process.exitcode for process in both]
    finally:
        for process in both:
            process.kill()
            process.join()


@pytest.mark.promise(1, "of two processes (gloo) one is killed or stopped: the other ends within 60 s with an error")
@pytest.mark.parametrize("how", LOST)
def test_one_of_two_is_lost_and_the_other_ends_and_both_resume_to_the_bit(tmp_path, how, record):
    number, rank = LOST[how]
    folder = tmp_path / "run"
    both = start_both(folder)
    try:
        wait_for(folder / "last.pt")  # an epoch is complete
        begun = time.monotonic()
        os.kill(both[rank].pid, number)
        both[1 - rank].join(LIMIT_S)
        took_s, code = time.monotonic() - begun, both[1 - rank].exitcode
    finally:
        finish(both, 0)
    assert code not in (0, None)
    record(f"process {rank} {how}: the other had ended after {took_s:.1f} s, code {code}")
    assert 1 <= load_checked(folder / "last.pt")["epoch"] < EPOCHS
    assert finish(start_both(folder, resume=True)) == [0, 0]
    assert finish(start_both(tmp_path / "whole")) == [0, 0]
    states = [without_seconds(load_checked(path / "last.pt")) for path in (folder, tmp_path / "whole")]
    assert states[0]["epoch"] == EPOCHS
    assert same(*states) is None


@pytest.mark.promise(1, "of two processes that torchrun started one is killed or stopped: nothing is left after 60 s")
@pytest.mark.parametrize("how", LOST)
def test_torchrun_ends_the_stopped_process_too(tmp_path, how, count, record):
    if not count(0, 1):
        pytest.skip("takes minutes; in the long form only")
    number, rank = LOST[how]
    folder = tmp_path / "run"
    process = start(folder)
    try:
        wait_for(folder / "last.pt")
        pids = [int((Path(f"{folder}_pids") / str(each)).read_text()) for each in range(2)]
        begun = time.monotonic()
        os.kill(pids[rank], number)
        code = process.wait(2 * LIMIT_S)
        took_s = time.monotonic() - begun
    finally:
        process.kill()
    assert code != 0
    assert not any(map(is_alive, pids))
    record(f"process {rank} {how}: all had ended after {took_s:.0f} s, code {code}")
    assert took_s < LIMIT_S
    again = start(folder, resume=True)
    try:
        assert again.wait(300) == 0, again.stderr.read()[-2000:]
    finally:
        again.kill()
    assert load_checked(folder / "last.pt")["epoch"] == EPOCHS
