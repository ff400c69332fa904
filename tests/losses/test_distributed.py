"""Two processes must train exactly as one with the whole batch."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ctan_monai.losses import distributed_mean

SCRIPT = Path(__file__).with_name("two_ranks.py")
_SPEC = importlib.util.spec_from_file_location("two_ranks", SCRIPT)
two_ranks = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(two_ranks)


@pytest.fixture(scope="module")
def ranks(tmp_path_factory) -> list[dict]:
    folder = tmp_path_factory.mktemp("ranks")
    subprocess.run([sys.executable, str(SCRIPT), str(folder)], check=True, timeout=120)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.mark.dist
@pytest.mark.parametrize("weighting", ["dwa", "uncertainty"])
@pytest.mark.parametrize("scenario", two_ranks.SCENARIOS)
def test_two_processes_find_the_gradients_of_one_with_the_whole_batch(ranks, scenario, weighting):
    whole = two_ranks.batch(two_ranks.SCENARIOS[scenario], [0, 1, 2, 3, 4])
    expected = two_ranks.train(two_ranks.Network(), whole, weighting)
    for found in (rank[f"{scenario}/{weighting}"] for rank in ranks):
        assert found["observed"] == expected["observed"]
        torch.testing.assert_close(found["total"], expected["total"])
        torch.testing.assert_close(found["latest"], expected["latest"])
        assert len(found["gradients"]) == len(expected["gradients"])
        for mine, one in zip(found["gradients"], expected["gradients"], strict=True):
            assert (mine is None) == (one is None)
            if one is not None:
                torch.testing.assert_close(mine, one, rtol=1e-5, atol=1e-7)


@pytest.mark.dist
def test_both_processes_hold_the_same_bits(ranks):
    for key in ranks[0]:
        if "/" in key:
            one, other = ranks[0][key], ranks[1][key]
            assert one["total"] == other["total"]
            torch.testing.assert_close(one["state"], other["state"], rtol=0, atol=0)
            torch.testing.assert_close(one["gradients"][-4:], other["gradients"][-4:], rtol=0, atol=0)


@pytest.mark.dist
def test_mean_of_two_processes_by_hand(ranks):
    assert ranks[0]["mean"] == ranks[1]["mean"] == torch.tensor(1 / 6)


@pytest.mark.dist
def test_one_process_can_validate_alone(ranks):
    targets = two_ranks.batch({}, two_ranks.PARTS[0])
    loss = two_ranks.MultiTaskLoss(
        two_ranks.TASKS, two_ranks.create_weighting("equal", two_ranks.TASKS), two_ranks.OPTIONS
    )
    torch.testing.assert_close(ranks[0]["validation"], loss(two_ranks.Network()(targets["image"]), targets).detach())


def test_mean_without_processes_is_total_over_count():
    total = torch.tensor([6.0, 0.0], requires_grad=True)
    mean = distributed_mean(total, torch.tensor([4, 0]))
    assert torch.equal(mean, torch.tensor([1.5, 0.0]))
    mean.sum().backward()
    assert torch.isfinite(total.grad).all()
