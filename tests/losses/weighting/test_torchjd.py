"""Weightings by torchjd: the laws that the methods promise, and what is said where it is missing."""

from __future__ import annotations

import sys

import pytest
import torch

from ctan_monai.errors import ConfigError
from ctan_monai.losses import create_weighting

METHODS = ["upgrad", "mgda", "aligned_mtl", "imtl_g", "cagrad", "graddrop"]


@pytest.fixture(params=METHODS)
def weighting(request, tasks):
    pytest.importorskip("torchjd")
    return create_weighting(request.param, tasks[:2], seed=0)


def test_equal_gradients_are_added_up_as_under_equal_weighting(weighting):
    gradient = torch.tensor([[1.0, -2.0], [0.5, 4.0]])
    (found,) = weighting.combine([{"oar": gradient, "dose": gradient.clone()}])
    torch.testing.assert_close(found, 2 * gradient, rtol=2e-3, atol=2e-3)


def test_gradients_keep_shape_and_dtype_and_nothing_else_is_drawn(weighting):
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    parts = {"oar": torch.tensor([[1.0, 0.5]]), "dose": torch.tensor([[-0.2, 1.0]])}
    halves = {name: part.bfloat16() for name, part in parts.items()}
    found = weighting.combine([parts, halves, {"dose": torch.tensor(2.0)}])
    assert [(part.shape, part.dtype) for part in found] == [
        ((1, 2), torch.float32),
        ((1, 2), torch.bfloat16),
        ((), torch.float32),
    ]
    assert torch.equal(torch.rand(2), expected)


@pytest.mark.parametrize("name", ["upgrad", "mgda", "aligned_mtl"])
def test_the_joint_gradient_works_against_no_task(name, tasks):
    weighting = create_weighting(name, tasks[:2])
    one, other = torch.tensor([1.0, 0.0, 1.0]), torch.tensor([-3.0, 1.0, 0.0])
    (found,) = weighting.combine([{"oar": one, "dose": other}])
    assert found @ one >= -1e-4
    assert found @ other >= -1e-4
    assert (one + other) @ one < 0, "the plain sum does, or this shows nothing"


def test_mgda_is_twice_the_shortest_convex_combination_by_hand(tasks):
    # of (2, 0) and (0, 1): a (2, 0) + (1 - a) (0, 1) is shortest at a = 1 / 5: (0.4, 0.8)
    (found,) = create_weighting("mgda", tasks[:2]).combine(
        [{"oar": torch.tensor([2.0, 0.0]), "dose": torch.tensor([0.0, 1.0])}]
    )
    torch.testing.assert_close(found, 2 * torch.tensor([0.4, 0.8]), rtol=1e-3, atol=1e-3)


def test_a_gradient_that_is_not_finite_stays_so_for_the_trainer_to_find(weighting):
    (found,) = weighting.combine([{"oar": torch.tensor([1.0, torch.inf]), "dose": torch.tensor([1.0, 2.0])}])
    assert not found.isfinite().all()


def test_where_torchjd_is_missing_the_command_that_installs_it_is_named(tasks, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchjd.aggregation", None)  # what Python does for a package that is not there
    with pytest.raises(ConfigError, match=r'UPGrad comes with torchjd.*pip install -e "\.\[mtl\]".*pcgrad'):
        create_weighting("upgrad", tasks)


def test_an_option_of_cagrad_is_checked(tasks):
    with pytest.raises(ConfigError, match=r"weighting: cagrad\.c"):
        create_weighting("cagrad", tasks, c=-1)
