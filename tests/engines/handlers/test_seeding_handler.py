"""What an epoch draws depends on seed, epoch and process, and on nothing that happened before."""

import os
import random

import numpy as np
import pytest
import torch
from ignite.engine import Engine, Events
from monai.data import DataLoader, Dataset
from monai.transforms import RandScaleIntensity
from torch.utils.data.distributed import DistributedSampler

from ctan_monai.data.lists.dataset import SeededDataset
from ctan_monai.engines.handlers.seeding_handler import ReseedEachEpoch, seed_for, seed_run
from ctan_monai.errors import ConfigError, explain


def epochs_of(loader, first=1, last=3, seed=5, epoch_length=None):
    """Return, for each epoch, the batches and one number of each generator, as a run from one epoch to another."""
    seen = {}

    def step(engine, batch):
        drawn = [random.random(), np.random.rand(), torch.rand(1).item()]  # noqa: S311
        seen.setdefault(engine.state.epoch, []).append((batch.flatten().tolist(), drawn))

    engine = Engine(step)
    ReseedEachEpoch(seed).attach(engine)

    @engine.on(Events.STARTED)
    def resume(engine):
        engine.state.epoch, engine.state.iteration = first - 1, (first - 1) * engine.state.epoch_length

    engine.run(loader, max_epochs=last, epoch_length=epoch_length)
    return seen


def shuffled(dataset, **options):
    return DataLoader(dataset, batch_size=2, shuffle=True, **options)


NUMBERS = [np.full(1, float(number)) for number in range(7)]
LOADERS = {
    "the global generator": lambda: shuffled(Dataset(NUMBERS)),
    "a generator of the loader": lambda: shuffled(Dataset(NUMBERS), generator=torch.Generator()),
    "MONAI's random transforms": lambda: shuffled(Dataset(NUMBERS, RandScaleIntensity(0.5, prob=1.0))),
    "a seeded dataset": lambda: shuffled(SeededDataset(NUMBERS, RandScaleIntensity(0.5, prob=1.0), seed=1)),
    "a distributed sampler": lambda: DataLoader(
        Dataset(NUMBERS), batch_size=2, sampler=DistributedSampler(NUMBERS, num_replicas=2, rank=1)
    ),
}


@pytest.mark.parametrize("make", LOADERS.values(), ids=LOADERS)
@pytest.mark.parametrize("epoch_length", [None, 1], ids=["whole epochs", "short epochs"])
def test_a_resumed_epoch_equals_the_same_epoch_of_an_uninterrupted_run(make, epoch_length):
    whole = epochs_of(make(), epoch_length=epoch_length)
    torch.rand(13), np.random.rand(13), random.random()  # noqa: S311
    resumed = epochs_of(make(), first=3, epoch_length=epoch_length)
    assert resumed == {3: whole[3]}


@pytest.mark.parametrize("make", LOADERS.values(), ids=LOADERS)
def test_each_epoch_has_another_order_and_other_numbers(make):
    whole = epochs_of(make())
    assert whole[1] != whole[2]
    assert whole[1][0][0] != whole[2][0][0]
    assert whole != epochs_of(make(), seed=6)


class EpochDataset:
    """Tells the epoch that it was last told, in a plain attribute that another process does not share."""

    epoch = 0

    def __len__(self):
        return 2

    def __getitem__(self, index):
        return np.full(1, float(self.epoch))

    def set_epoch(self, epoch):
        self.epoch = epoch


@pytest.mark.parametrize("options", [{}, {"num_workers": 1, "persistent_workers": True}], ids=["0 workers", "1 worker"])
def test_the_dataset_hears_of_the_epoch_before_its_first_sample_is_made(options):
    found = epochs_of(DataLoader(EpochDataset(), batch_size=2, **options))
    assert {epoch: batches[0][0] for epoch, batches in found.items()} == {1: [1, 1], 2: [2, 2], 3: [3, 3]}


def test_a_dataset_inside_another_hears_of_the_epoch():
    dataset = EpochDataset()
    subset = torch.utils.data.Subset(torch.utils.data.Subset(dataset, [0, 1]), [1])
    epochs_of(torch.utils.data.DataLoader(subset), last=2)
    assert dataset.epoch == 2


def test_seeds_of_neighboring_epochs_processes_and_runs_are_all_different():
    seeds = {seed_for(seed, epoch, rank) for seed in range(10) for epoch in range(10) for rank in range(10)}
    assert len(seeds) == 1000


def test_a_seeded_start_gives_the_same_network_twice():
    networks = []
    for _ in range(2):
        seed_run(3)
        networks.append(torch.nn.Linear(4, 4).weight)
    assert torch.equal(*networks)
    assert torch.backends.cudnn.deterministic


@pytest.fixture
def workspace(monkeypatch):
    """Leave torch and the environment as they were."""
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")  # is undone
    yield monkeypatch
    torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("word", [True, "true"])
def test_deterministic_sets_what_cublas_needs_unless_it_is_set(workspace, word):
    seed_run(0, word)
    assert torch.are_deterministic_algorithms_enabled()
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":16:8"
    workspace.delenv("CUBLAS_WORKSPACE_CONFIG")
    seed_run(0, word)
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"


def test_without_deterministic_the_next_run_in_a_process_is_as_fast_as_before(workspace):
    seed_run(0, True)
    workspace.delenv("CUBLAS_WORKSPACE_CONFIG")
    seed_run(0)
    assert torch.are_deterministic_algorithms_enabled()
    seed_run(0, "false")
    assert not torch.are_deterministic_algorithms_enabled()
    assert "CUBLAS_WORKSPACE_CONFIG" not in os.environ
    with pytest.raises(ConfigError, match="deterministic: 'maybe' is neither"):
        seed_run(0, "maybe")


def test_an_operation_that_has_no_deterministic_form_is_named_with_the_option(workspace):
    pooled, places = torch.nn.functional.max_pool2d(torch.rand(1, 1, 4, 4), 2, return_indices=True)
    seed_run(0, True)
    with pytest.raises(RuntimeError) as caught:
        torch.nn.functional.max_unpool2d(pooled, places, 2)
    said = str(explain(caught.value))
    assert said.startswith("--deterministic: max_unpooling2d")
    assert "Remedy: Leave it out" in said
