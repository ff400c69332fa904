"""One of two processes that train and validate together: ``python two_processes.py RANK FOLDER``.

Leaves weights and metrics in ``FOLDER/RANK.pt``. The engines' tests start both and compare them with one process.
"""

import sys
from pathlib import Path

import torch
import torch.distributed as dist
from engine_kit import TASKS, SmallNetwork, make_item, make_loss, make_trainer, weights
from monai.data import DataLoader
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from ctan_monai.engines import MultiTaskEvaluator, MultiTaskMetrics, NonFiniteError, trainable_parameters

TRAINING = [[0, 1, 4], [2, 3, 5]]  # cases of each process
VALIDATION = [[10, 11, 12], [13, 10]]  # 10 is there twice, as a distributed sampler pads
DEPTH = {10: 3, 11: 9, 12: 4, 13: 40}  # slices, 16 in a call: 3 calls of the network in one process, 4 in the other


class WithStatistics(SmallNetwork):
    """Has batch statistics, which DistributedDataParallel broadcasts in each of its calls."""

    def __init__(self):
        super().__init__()
        self.body.append(nn.BatchNorm2d(4))


def train(indices, batch_size, wrap, damaged=False):
    """Train one epoch on some cases; return weights of network and loss."""
    torch.manual_seed(0)
    network = wrap(SmallNetwork())
    items = [make_item(index) for index in indices]
    for item in items:
        item["dose_present"] = torch.tensor(item["case"] != "pt_2")  # processes hold different numbers of labels
    if damaged:
        items[0]["image"][...] = float("nan")
    loss = make_loss(weighting="uncertainty")
    trainer = make_trainer(network, DataLoader(items, batch_size=batch_size), loss=loss, clip_norm=0.5)
    trainer.optimizer = torch.optim.SGD(trainable_parameters(network, loss), lr=0.1)
    trainer.run()
    inner = network.module if isinstance(network, DistributedDataParallel) else network
    return {**weights(inner), **weights(loss)}


def validate(indices, wrap, running_mean):
    """Validate some cases; return the metrics and the rows."""
    torch.manual_seed(0)
    network = WithStatistics()
    network.body[-1].running_mean.fill_(running_mean)
    items = [make_item(index, (8, 6, DEPTH[index])) for index in indices]
    handler = MultiTaskMetrics(TASKS)
    evaluator = MultiTaskEvaluator("cpu", DataLoader(items, batch_size=1), wrap(network), val_handlers=[handler])
    evaluator.run()
    return dict(evaluator.state.metrics), evaluator.state.metric_details["cases"]


def main(rank, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    found = {"weights": train(TRAINING[rank], 1, DistributedDataParallel)}
    # buffers broadcast at wrapping already: make them differ afterwards, as training does
    found["metrics"], found["rows"] = validate(
        VALIDATION[rank], lambda network: differ(DistributedDataParallel(network), rank), 0.25
    )
    try:
        train(TRAINING[rank], 1, DistributedDataParallel, damaged=rank == 1)
    except NonFiniteError as error:
        found["error"] = str(error)
    torch.save(found, Path(folder) / f"{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


def differ(network, rank):
    network.module.body[-1].running_mean.fill_(0.25 + rank)
    return network


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
