from __future__ import annotations

import math

import pytest
import torch

from ctan_monai.losses import UncertaintyWeighting

SEEN = {"oar": True, "dose": True, "severe": True}


def losses_of(*values) -> dict[str, torch.Tensor]:
    return {name: torch.tensor(value, requires_grad=True) for name, value in zip(SEEN, values, strict=True)}


def test_total_and_gradients_by_hand(tasks):
    weighting = UncertaintyWeighting(tasks, initial_log_variance=math.log(2))
    losses = losses_of(1.0, 4.0, 6.0)
    total = weighting(losses, SEEN)
    assert total.item() == pytest.approx((1 + 4 + 6) / 2 + 3 * math.log(2))
    total.backward()
    assert losses["dose"].grad.item() == pytest.approx(0.5)  # exp(-s)
    assert weighting.log_variance_dose.grad.item() == pytest.approx(1 - 4 / 2)  # d/ds: 1 - exp(-s) L
    assert weighting.weights() == pytest.approx({"oar": 0.5, "dose": 0.5, "severe": 0.5})


def test_gradient_descent_finds_weights_of_one_over_the_loss(tasks):
    weighting = UncertaintyWeighting(tasks)
    optimizer = torch.optim.SGD(weighting.parameters(), lr=0.5)
    for _ in range(100):
        optimizer.zero_grad()
        weighting(losses_of(0.5, 2.0, 1.0), SEEN).backward()
        optimizer.step()
    assert weighting.weights() == pytest.approx({"oar": 2.0, "dose": 0.5, "severe": 1.0}, rel=1e-4)


def test_parameters_of_an_unobserved_task_do_not_move_even_with_momentum(tasks):
    weighting = UncertaintyWeighting(tasks)
    optimizer = torch.optim.Adam(weighting.parameters(), lr=0.1, weight_decay=0.1)
    for observed in (True, False, False):
        before = weighting.weights()
        optimizer.zero_grad()
        weighting(losses_of(0.5, 2.0, 1.0), {**SEEN, "dose": observed}).backward()
        optimizer.step()
        assert (weighting.weights()["dose"] != before["dose"]) == observed
        assert weighting.weights()["oar"] != before["oar"]
