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


def test_stch_raw_lies_between_the_largest_loss_and_that_plus_mu_log_t(tasks):
    for mu in (0.01, 0.1, 1.0):
        _, total = derivatives(create_weighting("stch", tasks, form="raw", mu=mu), LOSSES)
        assert 2.0 <= total <= 2.0 + mu * math.log(3)


def test_stch_raw_by_hand_is_the_equation_of_the_paper(tasks):
    preferences, ideal = {"oar": 2.0, "dose": 1.0, "severe": 4.0}, {"oar": 0.1, "dose": 0.5, "severe": 0.0}
    weighting = create_weighting("stch", tasks, form="raw", mu=0.5, preferences=preferences, ideal=ideal)
    found, total = derivatives(weighting, LOSSES)
    powers = [math.exp(2 * 0.4 / 0.5), math.exp(1.5 / 0.5), math.exp(4 * 0.25 / 0.5)]
    assert total == pytest.approx(0.5 * math.log(sum(powers)))
    assert list(found.values()) == pytest.approx([w * p / sum(powers) for w, p in zip((2, 1, 4), powers, strict=True)])
    assert weighting.weights() == pytest.approx(found, rel=1e-6)


def test_stch_raw_leaves_out_a_task_without_labels(tasks):
    losses = losses_of(*LOSSES)
    total = create_weighting("stch", tasks, form="raw", mu=0.5)(losses, {**SEEN, "dose": False})
    total.backward()
    assert total.item() == pytest.approx(0.5 * math.log(math.exp(0.5 / 0.5) + math.exp(0.25 / 0.5)))
    assert losses["dose"].grad == 0


def steps_of_stch(rng, epochs, steps=3):
    return np.exp(rng.normal(-1, 0.7, (epochs, steps, 3))).astype(np.float32)


@pytest.mark.parametrize(("warmup", "mu"), [(4, 1.0), (1, 0.25), (0, 2.0)])
def test_stch_is_the_authors_algorithm(tasks, warmup, mu):
    """Warm-up: the sum of logs. One epoch more of it, whose mean loss is the nadir; then T mu log sum (L/n)^(1/mu)."""
    options = {} if (warmup, mu) == (4, 1.0) else {"warmup_epochs": warmup, "mu": mu}  # the first pair is the default
    weighting = create_weighting("stch", tasks, **options)
    drawn = steps_of_stch(np.random.default_rng(3), warmup + 3)
    nadir = drawn[warmup].astype(float).mean(0)
    for epoch, steps in enumerate(drawn):
        for values in steps.astype(float):
            found, total = derivatives(weighting, values)
            if epoch <= warmup:
                assert total == pytest.approx(np.log(values).sum(), rel=1e-5, abs=1e-6)
                assert list(found.values()) == pytest.approx(list(1 / values), rel=1e-5)
            else:
                powers = (values / nadir) ** (1 / mu)
                assert total == pytest.approx(3 * mu * math.log(powers.sum()), rel=1e-4, abs=1e-5)
                assert list(found.values()) == pytest.approx(list(3 * powers / powers.sum() / values), rel=1e-4)
            assert weighting.weights() == pytest.approx(found, rel=1e-5)
        weighting.end_epoch()


def test_stch_does_not_mind_units_once_the_nadir_is_known(tasks):
    factors, totals = np.array([1.0, 70.0, 0.01]), {}
    for units in (1.0, factors):
        weighting = create_weighting("stch", tasks, warmup_epochs=0)
        derivatives(weighting, np.array(LOSSES) * units)
        weighting.end_epoch()
        found, total = derivatives(weighting, np.array([0.4, 2.5, 0.1]) * units)
        totals[str(units)] = [total, *(np.array(list(found.values())) * units)]
    one, other = totals.values()
    assert one == pytest.approx(other, rel=1e-5)


def test_stch_measures_the_nadir_of_a_task_without_labels_when_it_has_some(tasks):
    weighting = create_weighting("stch", tasks, warmup_epochs=0)
    no_dose = {**SEEN, "dose": False}
    for values, seen in [((0.5, 9.0, 0.2), no_dose), ((0.4, 2.0, 0.1), SEEN)]:
        weighting(losses_of(*values), seen)
        weighting.end_epoch()
    assert weighting.nadir.tolist() == pytest.approx([0.5, 2.0, 0.2])
    again = create_weighting("stch", tasks, warmup_epochs=0)
    again(losses_of(0.5, 9.0, 0.2), no_dose)
    again.end_epoch()
    found, total = derivatives(again, (0.4, 2.0, 0.1))  # two tasks in the smooth maximum, the dose's log beside it
    assert total == pytest.approx(2 * math.log(0.4 / 0.5 + 0.1 / 0.2) + math.log(2.0), rel=1e-5)
    assert found["dose"] == pytest.approx(0.5)
    assert again(losses_of(0.4, 2.0, 0.1), no_dose).item() == pytest.approx(2 * math.log(1.3), rel=1e-5)


def test_stch_forgets_a_loss_that_is_not_finite_and_survives_a_loss_of_zero(tasks):
    weighting = create_weighting("stch", tasks, warmup_epochs=0)
    for values in [(0.5, math.inf, math.nan), (0.5, 2.0, 0.0)]:
        weighting(losses_of(*values), SEEN)
    weighting.end_epoch()
    assert weighting.nadir.tolist() == pytest.approx([0.5, 2.0, 1e-8])
    found, total = derivatives(weighting, (0.0, 0.0, 0.0))
    assert math.isfinite(total)
    assert all(math.isfinite(value) for value in found.values())


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


@pytest.mark.parametrize("decay", [None, 0.001, 0.5])
def test_famo_is_the_published_algorithm_with_adam_and_its_weight_decay(tasks, decay):
    """Alg. 1 by torch's Adam and autograd; the authors' `famo.py` has learning rate 0.025 and weight decay 0.01."""
    famo = create_weighting("famo", tasks, **({} if decay is None else {"decay": decay}))
    xi = torch.zeros(3, requires_grad=True)
    adam = torch.optim.Adam([xi], lr=0.025, weight_decay=0.01 if decay is None else decay)
    generator = torch.Generator().manual_seed(0)
    losses = torch.rand(3, generator=generator) + 0.5
    for _ in range(150):
        found, total = derivatives(famo, losses.tolist())
        shares = xi.detach().softmax(0)
        scale = 1 / (shares / losses).sum()
        assert total == pytest.approx((scale * shares * losses.log()).sum().item(), rel=1e-4, abs=1e-5)
        assert list(found.values()) == pytest.approx((scale * shares / losses).tolist(), rel=1e-4)
        after = losses * torch.tensor([0.99, 0.97, 0.995]) * torch.exp(0.05 * torch.randn(3, generator=generator))
        (xi.softmax(0) * (losses.log() - after.log())).sum().backward()
        adam.step()
        adam.zero_grad()
        losses = after
    assert famo.xi.abs().max() > 1e-3  # it has moved


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
