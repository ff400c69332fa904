"""Train one step with two processes for each scenario and write the gradients that each process ended up with.

Run as a script: `python two_ranks.py FOLDER`; the test beside it compares the files with one process.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn

from ctan_monai.losses import MultiTaskLoss, create_weighting, distributed_mean
from ctan_monai.tasks import Classification, Regression, Segmentation

TASKS = (
    Segmentation("oar", ["Cord", "Stem"], overlapping=True),
    Segmentation("organ", ["Liver", "Spleen"]),
    Regression("dose", unit="Gy", scale=80.0, region="mask"),
    Classification("diagnosis", ["nv", "mel", "bkl"]),
)
OPTIONS = {
    "oar": {"positive_weight": 5.0},
    "organ": {"focal_gamma": 2.0},
    "diagnosis": {"class_weight": [1.0, 4.0, 2.0]},
}
SCENARIOS = {  # cases 0 and 1 go to the first process, 2 to 4 to the second; for each task, the cases with a label
    "all known": {},
    "dose on one process only": {"dose": [0, 1]},
    "oar and diagnosis on different processes": {"oar": [3], "diagnosis": [0]},
    "organ nowhere": {"organ": []},
    "nothing anywhere": {"oar": [], "organ": [], "dose": [], "diagnosis": []},
}
PARTS = [[0, 1], [2, 3, 4]]


class Network(nn.Module):
    """One shared convolution and a head per task."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.shared = nn.Conv2d(1, 4, 3, padding=1)
        self.heads = nn.ModuleList(nn.Conv2d(4, task.channels, 1) for task in TASKS)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Return the logits of each task."""
        features = self.shared(image).tanh()
        outputs = {task.name: head(features) for task, head in zip(TASKS, self.heads, strict=True)}
        return {name: out.mean((2, 3)) if name == "diagnosis" else out for name, out in outputs.items()}


def batch(known: dict[str, list[int]], cases: list[int]) -> dict[str, Tensor]:
    """Return these cases of a batch of five in which the labels of some tasks are known for some cases only."""
    generator = torch.Generator().manual_seed(1)
    index = torch.randint(0, 3, (5, 6, 5), generator=generator)
    whole = {
        "image": torch.randn(5, 1, 6, 5, generator=generator),
        "oar": (torch.rand(5, 2, 6, 5, generator=generator) > 0.7).float(),
        "oar_present": torch.tensor([[1, 1], [1, 0], [0, 1], [1, 1], [1, 1]]).bool(),
        "organ": nn.functional.one_hot(index, 3).movedim(-1, 1)[:, 1:],
        "organ_present": torch.tensor([[1, 0], [1, 0], [1, 0], [1, 1], [0, 0]]).bool(),
        "dose": 80 * torch.rand(5, 1, 6, 5, generator=generator),
        "dose_present": torch.ones(5).bool(),
        "dose_region": torch.rand(5, 1, 6, 5, generator=generator) > 0.6,
        "diagnosis": torch.tensor([0, 1, 2, 1, 0]),
        "diagnosis_present": torch.tensor([1, 1, 0, 1, 1]).bool(),
    }
    for name, those in known.items():
        keep = torch.zeros(5, dtype=torch.bool)
        keep[those] = True
        present = whole[f"{name}_present"]
        whole[f"{name}_present"] = present & keep.reshape(-1, *(1 for _ in present.shape[1:]))
    return {key: value[cases] for key, value in whole.items()}


def train(network: nn.Module, targets: dict[str, Tensor], weighting: str) -> dict[str, object]:
    """Make one step's backward pass; return all that must be the same as with one process."""
    network.zero_grad()
    loss = MultiTaskLoss(TASKS, create_weighting(weighting, TASKS), OPTIONS)
    total = loss(network(targets["image"]), targets)
    total.backward()
    loss.weighting.end_epoch()
    parameters = [*network.parameters(), *loss.parameters()]
    return {
        "total": total.detach(),
        "latest": loss.latest,
        "observed": loss.observed,
        "gradients": [None if entry.grad is None else entry.grad.clone() for entry in parameters],
        "state": loss.state_dict(),
    }


def work(rank: int, folder: str) -> None:
    """Be one of two processes."""
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    network = nn.parallel.DistributedDataParallel(Network())  # without find_unused_parameters
    results: dict[str, object] = {
        f"{scenario}/{weighting}": train(network, batch(known, PARTS[rank]), weighting)
        for scenario, known in SCENARIOS.items()
        for weighting in ("dwa", "uncertainty")
    }
    results["mean"] = distributed_mean(torch.tensor(float(rank)), torch.tensor(3.0))
    if rank == 0:
        with torch.no_grad():  # the other process does not validate: this must not wait for it
            targets = batch({}, PARTS[0])
            loss = MultiTaskLoss(TASKS, create_weighting("equal", TASKS), OPTIONS)
            results["validation"] = loss(network.module(targets["image"]), targets)
    torch.save(results, f"{folder}/{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    mp.spawn(work, args=(str(Path(sys.argv[1]).resolve()),), nprocs=2)
