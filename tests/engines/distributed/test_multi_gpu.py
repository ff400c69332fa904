"""What several processes share: batch normalization, the order of the data, a step's batch."""

import pytest
import torch
import torch.distributed as dist
from forked import processes
from torch import nn

from ctan_monai.engines.distributed.batch_norm import SharedBatchNorm, share_batch_norm
from ctan_monai.engines.distributed.data_parallel import (
    DistributedSequentialSampler,
    ShardedSampler,
    init_process_group,
    per_rank_batch_size,
)
from ctan_monai.engines.loop.sampler import create_sampler
from ctan_monai.errors import ConfigError

pytestmark = pytest.mark.dist
SIZES = {1: [6], 2: [4, 2]}  # samples of each process
BAG = 2


def network_2d():
    torch.manual_seed(0)
    made = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3, momentum=0.3), nn.ReLU(), nn.Conv2d(3, 1, 1))
    nn.init.uniform_(made[1].weight)
    return made


def work(rank, world, folder):
    """Do in one process what the tests compare, and leave it in a file."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting_{world}", rank=rank, world_size=world)
    torch.manual_seed(1)
    images, goals = torch.randn(6, 2, 7, 5).split(SIZES[world]), torch.randn(6, 1, 5, 3).split(SIZES[world])
    network = share_batch_norm(network_2d(), torch.device("cpu"))
    outputs = [network(images[rank]) for _ in range(2)][-1]
    ((outputs - goals[rank]) ** 2).sum().backward()
    gradients = {name: parameter.grad for name, parameter in network.named_parameters()}
    for gradient in gradients.values():
        dist.all_reduce(gradient)
    sampler = create_sampler("shuffled", range(7))
    sampler.generator.manual_seed(3)
    order = list(ShardedSampler(sampler))
    found = {
        "outputs": outputs.detach(),
        "gradients": gradients,
        "buffers": dict(network.named_buffers()),
        "kinds": [type(module).__name__ for module in network],
        "quiet": network.eval()(images[rank]).detach(),
        "order": order,
        "length": len(ShardedSampler(sampler)),
        "bags": list(ShardedSampler(range(3 * BAG), BAG)),
        "in_order": {count: list(DistributedSequentialSampler(range(count))) for count in (1, 4, 5)},
        "lengths": {count: len(DistributedSequentialSampler(range(count))) for count in (1, 4, 5)},
        "batch": per_rank_batch_size(8),
    }
    try:
        per_rank_batch_size(7)
    except ConfigError as error:
        found["error"] = str(error)
    torch.save(found, folder / f"{world}_{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What one process, and two, leave behind: by number of processes a list."""
    folder = tmp_path_factory.mktemp("shared")
    running = [processes.Process(target=work, args=(rank, world, folder)) for world in (1, 2) for rank in range(world)]
    for process in running:
        process.start()
    try:
        for process in running:
            process.join(60)
        assert [process.exitcode for process in running] == [0, 0, 0]
    finally:
        for process in running:
            process.kill()
    return {w: [torch.load(folder / f"{w}_{rank}.pt", weights_only=True) for rank in range(w)] for w in (1, 2)}


def plain():
    """The same by torch's own normalization and the whole batch."""
    torch.manual_seed(1)
    images, goals = torch.randn(6, 2, 7, 5), torch.randn(6, 1, 5, 3)
    network = network_2d()
    outputs = [network(images) for _ in range(2)][-1]
    ((outputs - goals) ** 2).sum().backward()
    return network, outputs.detach(), network.eval()(images).detach()


@pytest.mark.parametrize("world", [1, 2])
def test_batches_of_different_sizes_are_normalized_as_one(found, world):
    network, outputs, quiet = plain()
    parts = found[world]
    torch.testing.assert_close(torch.cat([part["outputs"] for part in parts]), outputs, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(torch.cat([part["quiet"] for part in parts]), quiet, rtol=1e-5, atol=1e-6)
    for part in parts:
        for name, parameter in network.named_parameters():
            torch.testing.assert_close(part["gradients"][name], parameter.grad, rtol=1e-4, atol=1e-5)
        assert list(part["buffers"]) == [name for name, _ in network.named_buffers()]
        for name, buffer in network.named_buffers():
            torch.testing.assert_close(part["buffers"][name], buffer, rtol=1e-5, atol=1e-6)
        assert part["kinds"] == ["Conv2d", "SharedBatchNorm", "ReLU", "Conv2d"]


def test_in_a_process_that_is_alone_it_is_torchs_own():
    alone, torchs = SharedBatchNorm(3), nn.BatchNorm2d(3)
    image = torch.randn(4, 3, 5, 5)
    assert alone(image).equal(torchs(image))
    assert list(alone.state_dict()) == list(torchs.state_dict())


def test_each_step_sees_the_samples_that_one_process_would_have_seen(found):
    (alone,), (first, second) = found[1], found[2]
    assert sorted(alone["order"]) == list(range(7))
    assert [place for pair in zip(first["order"], second["order"], strict=True) for place in pair] == alone["order"][:6]
    assert [part["length"] for part in (alone, first, second)] == [7, 3, 3]


def test_what_belongs_together_stays_together_and_processes_get_equally_many(found):
    assert [part["bags"] for part in found[2]] == [[0, 1], [2, 3]]


def test_in_validation_every_case_is_seen_and_no_process_has_none(found):
    first, second = found[2]
    assert first["in_order"] == {1: [0], 4: [0, 2], 5: [0, 2, 4]}
    assert second["in_order"] == {1: [0], 4: [1, 3], 5: [1, 3]}
    assert [part["lengths"] for part in (first, second)] == [{1: 1, 4: 2, 5: 3}, {1: 1, 4: 2, 5: 2}]


def test_a_batch_is_divided_or_the_error_says_how(found):
    assert [part["batch"] for part in found[2]] == [4, 4]
    assert "7 samples cannot be divided among 2 processes" in found[2][1]["error"]


def test_without_torchrun_the_error_says_how_to_start(monkeypatch):
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    with pytest.raises(ConfigError, match="torchrun --standalone --nproc_per_node=2"):
        init_process_group()
