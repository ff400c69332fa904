"""Two processes that train together are interrupted and resumed like one."""

import logging

import pytest
import torch
import torch.distributed as dist
from forked import processes
from ignite.engine import Events
from run_kit import Run, TinyNetwork, same, without_seconds
from torch.nn.parallel import DistributedDataParallel

from ctan_monai.engines.runs.run_folder import RunFolder
from ctan_monai.engines.runs.torch_file import load_checked

pytestmark = pytest.mark.dist


def train(rank, folder, epochs, end, resume):
    """Train in one of two processes; ``end`` is the epoch after which both are gone."""
    torch.set_num_threads(1)
    logging.disable()
    dist.init_process_group("gloo", init_method=f"file://{folder}_meeting_{resume}", rank=rank, world_size=2)
    written = folder if rank == 0 or resume else folder.with_name("nobody")  # process 1 must write nothing there
    RunFolder(written, {"epochs": epochs}, TinyNetwork(), [], resume)
    run = Run(written, epochs, resume, network=lambda: DistributedDataParallel(TinyNetwork()))
    run.trainer.add_event_handler(
        Events.EPOCH_STARTED, lambda engine: engine.terminate() if engine.state.epoch > end else None
    )
    run.go()
    torch.save(run.network.module.state_dict(), f"{folder}_{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


def train_together(*arguments):
    running = [processes.Process(target=train, args=(rank, *arguments)) for rank in range(2)]
    for process in running:
        process.start()
    try:
        for process in running:
            process.join(60)
        assert [process.exitcode for process in running] == [0, 0]
    finally:
        for process in running:
            process.kill()


@pytest.mark.promise(1, "two processes that train together resume to the bit, and one writes")
def test_two_processes_resume_to_the_bit_and_only_one_writes(tmp_path):
    train_together(tmp_path / "whole", 4, 4, False)
    train_together(tmp_path / "part", 4, 2, False)
    assert load_checked(tmp_path / "part" / "last.pt")["epoch"] == 2
    train_together(tmp_path / "part", 4, 4, True)
    whole, part = (without_seconds(load_checked(tmp_path / name / "last.pt")) for name in ("whole", "part"))
    assert part["epoch"] == 4
    assert same(part, whole) is None
    assert not any(name.startswith("module.") for name in whole["network"])
    parameters = [torch.load(tmp_path / f"part_{rank}.pt", weights_only=True)["body.0.weight"] for rank in range(2)]
    assert parameters[0].equal(parameters[1])
    assert not (tmp_path / "nobody").exists()
