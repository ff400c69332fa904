"""FAMO, IMTL-L, GLS, RLW and STCH against hand computations, derivatives and the laws that they were made for."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from ctan_monai.losses import create_weighting

SEEN = {"oar": True, "dose": True, "severe": True}
LOSSES = (0.5, 2.0, 0.25)


def losses_of(*values):
    return {name: torch.tensor(value, requires_grad=True) for name, value in zip(SEEN, values, strict=True)}


def derivatives(weighting, values):
    """Return the total's derivative by each loss, and the total."""
    losses = losses_of(*values)
    total = weighting(losses, SEEN)
    total.backward()
    return {name: loss.grad.item() for name, loss in losses.items()}, total.item()


@pytest.mark.parametrize("name", ["famo", "imtl_l", "gls", "rlw", "stch"])
def test_the_weights_that_are_reported_are_the_derivatives(name, tasks):
    weighting = create_weighting(name, tasks)
    found, _ = derivatives(weighting, LOSSES)
    assert weighting.weights() == pytest.approx(found, rel=1e-6)


def test_gls_is_the_geometric_mean_and_does_not_mind_units(tasks):
    gls = create_weighting("gls", tasks)
    _, total = derivatives(gls, LOSSES)
    assert total == pytest.approx(0.25 ** (1 / 3))
    shares = {name: gls.weights()[name] * loss for name, loss in zip(SEEN, LOSSES, strict=True)}
    assert shares == pytest.approx(dict.fromkeys(SEEN, total / 3))
    _, other = derivatives(gls, (0.5 * 1000, 2.0, 0.25))
    assert other == pytest.approx(10 * total)


def test_stch_lies_between_the_largest_loss_and_that_plus_mu_log_t(tasks):
    for mu in (0.01, 0.1, 1.0):
        _, total = derivatives(create_weighting("stch", tasks, mu=mu), LOSSES)
        assert 2.0 <= total <= 2.0 + mu * math.log(3)


def test_stch_by_hand(tasks):
    preferences, ideal = {"oar": 2.0, "dose": 1.0, "severe": 4.0}, {"oar": 0.1, "dose": 0.5, "severe": 0.0}
    weighting = create_weighting("stch", tasks, mu=0.5, preferences=preferences, ideal=ideal)
    found, total = derivatives(weighting, LOSSES)
    powers = [math.exp(2 * 0.4 / 0.5), math.exp(1.5 / 0.5), math.exp(4 * 0.25 / 0.5)]
    assert total == pytest.approx(0.5 * math.log(sum(powers)))
    assert list(found.values()) == pytest.approx([w * p / sum(powers) for w, p in zip((2, 1, 4), powers, strict=True)])


def test_rlw_weighs_new_in_each_step_and_equally_in_the_mean(tasks):
    rlw = create_weighting("rlw", tasks)
    drawn = np.array([list(derivatives(rlw, LOSSES)[0].values()) for _ in range(2000)])
    assert drawn.sum(1) == pytest.approx(np.ones(2000))
    assert drawn.mean(0) == pytest.approx(np.full(3, 1 / 3), abs=0.015)
    assert len({tuple(row) for row in drawn}) == 2000
    # softmax of normal numbers: the log of a ratio of two weights is a difference of two of them
    assert np.log(drawn[:, 0] / drawn[:, 1]).std() == pytest.approx(math.sqrt(2), rel=0.05)


def test_rlw_with_another_seed_draws_others(tasks):
    one, same, other = (create_weighting("rlw", tasks, seed=seed).weights() for seed in (0, 0, 1))
    assert one == same
    assert one != other


def test_imtl_l_makes_all_scaled_losses_one(tasks):
    weighting = create_weighting("imtl_l", tasks)
    optimizer = torch.optim.Adam(weighting.parameters(), lr=0.05)
    for _ in range(500):
        optimizer.zero_grad()
        weighting(losses_of(*LOSSES), SEEN).backward()
        optimizer.step()
    scaled = {name: weighting.weights()[name] * loss for name, loss in zip(SEEN, LOSSES, strict=True)}
    assert scaled == pytest.approx(dict.fromkeys(SEEN, 1.0), abs=1e-3)


def test_imtl_l_is_uncertainty_weighting_with_the_sign_turned(tasks):
    one = create_weighting("imtl_l", tasks)
    other = create_weighting("uncertainty", tasks)
    steps = [torch.optim.SGD(weighting.parameters(), lr=0.1) for weighting in (one, other)]
    for _ in range(5):
        found = [derivatives(weighting, LOSSES) for weighting in (one, other)]
        assert found[0][0] == pytest.approx(found[1][0])
        assert found[0][1] == pytest.approx(found[1][1])
        for optimizer in steps:
            optimizer.step()
            optimizer.zero_grad()


def test_famo_begins_with_weights_inverse_to_the_losses(tasks):
    """z = 1/3 each, c = 1 / sum(z / L) = 3 / (2 + 0.5 + 4): lambda = (1/L) / 6.5."""
    found, total = derivatives(create_weighting("famo", tasks), LOSSES)
    assert list(found.values()) == pytest.approx([2 / 6.5, 0.5 / 6.5, 4 / 6.5])
    assert total == pytest.approx(sum(math.log(loss) for loss in LOSSES) / 6.5)


def test_famo_first_update_by_hand(tasks):
    """Adam's first step is the learning rate times the gradient's sign."""
    famo = create_weighting("famo", tasks, learning_rate=0.025, decay=0.0)
    derivatives(famo, (1.0, 1.0, 1.0))
    derivatives(famo, (0.5, 0.9, 0.9))  # log-losses fell by .693, .105, .105; weighted by 1/3: mean .301
    assert famo.xi.tolist() == pytest.approx([-0.025, 0.025, 0.025], rel=1e-5)


def test_famo_gives_more_weight_to_the_task_that_falls_behind(tasks):
    famo = create_weighting("famo", tasks)
    loss = np.array([1.0, 1.0, 1.0])
    for _ in range(60):
        found, _ = derivatives(famo, loss)
        loss = loss * [0.95, 0.99, 0.95]
    rates = {name: found[name] * value for name, value in zip(SEEN, loss, strict=True)}  # z, but for a factor
    assert rates["dose"] > 1.5 * rates["oar"]
    assert rates["oar"] == pytest.approx(rates["severe"], rel=1e-3)


def test_famo_evens_out_how_fast_two_tasks_improve():
    """Two losses exp(-a p), exp(-b p) of one parameter each, trained by the weighted gradient."""
    from ctan_monai.tasks import Classification

    pair = [Classification("fast", ["x"]), Classification("slow", ["x"])]
    falls = {}
    for name in ("gls", "famo"):
        weighting = create_weighting(name, pair, **({"decay": 0.0} if name == "famo" else {}))
        place = torch.zeros(2, requires_grad=True)
        speeds = torch.tensor([2.0, 1.0])
        for _ in range(400):
            losses = (-speeds * place).exp()
            total = weighting(dict(zip(("fast", "slow"), losses.unbind(), strict=True)), {"fast": True, "slow": True})
            (gradient,) = torch.autograd.grad(total.log() if name == "gls" else total, place)
            with torch.no_grad():
                place -= 0.01 * gradient / gradient.norm()
        fallen = (-(-speeds * place).detach()).tolist()  # how far the log-losses fell
        falls[name] = fallen[1] / fallen[0]
    assert falls["gls"] == pytest.approx(0.25, rel=1e-3)  # steps follow the speeds: (1/2)^2
    assert falls["famo"] == pytest.approx(1.0, abs=0.2)
