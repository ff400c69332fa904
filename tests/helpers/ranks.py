"""One of the processes that torchrun starts: trains the tiny network of `run_kit` in a folder, slowly.

``torchrun --nproc_per_node=2 ranks.py FOLDER EPOCHS RESUME``. Each process leaves its number in ``FOLDER_pids``.
"""

import os
import sys
import time
from pathlib import Path

import torch
import torch.distributed as dist
from ignite.engine import Events
from run_kit import Run, TinyNetwork
from torch.nn.parallel import DistributedDataParallel

from ctan_monai.engines.handlers.peer_watch_handler import PeerWatch


def train(folder, epochs, resume, silence_s=10.0):
    """Train in a process that has joined its group."""
    torch.set_num_threads(1)
    rank = dist.get_rank()
    run = Run(
        Path(folder),
        epochs,
        resume,
        network=lambda: DistributedDataParallel(TinyNetwork()),
        train_handlers=[PeerWatch(silence_s)],
    )
    run.trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda: time.sleep(0.05))
    (Path(f"{folder}_pids") / str(rank)).write_text(str(os.getpid()))
    run.go()
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    dist.init_process_group("gloo")
    train(sys.argv[1], int(sys.argv[2]), sys.argv[3] == "True")
