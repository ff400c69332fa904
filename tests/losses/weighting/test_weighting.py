"""What every weighting must obey, and how one is chosen."""

from __future__ import annotations

import io
import logging

import pytest
import torch

from ctan_monai.errors import ConfigError
from ctan_monai.losses import Weighting, create_weighting
from ctan_monai.losses.weighting import WEIGHTINGS

OPTIONS = {
    "static": {"weights": {"oar": 2.0, "dose": 0.5, "severe": 1.0}},
    "stch": {"warmup_epochs": 1},  # the smooth maximum begins in the third of the four epochs
}
SEEN = {"oar": True, "dose": True, "severe": True}
EPOCHS = [(0.9, 0.5, 0.7), (0.8, 0.2, 0.6), (0.6, 0.19, 0.3), (0.55, 0.1, 0.25)]


def losses_of(values, names=("oar", "dose", "severe")) -> dict[str, torch.Tensor]:
    return {name: torch.tensor(value, requires_grad=True) for name, value in zip(names, values, strict=True)}


STEPS = 3 * len(EPOCHS)


def on_device(observed):
    """Say what was observed by scalars, as the loss does, which nothing reads."""
    return {name: torch.tensor(value) for name, value in observed.items()}


def train(weighting, optimizer, start=0, stop=STEPS, say=dict) -> list[float]:
    """Make steps, three per epoch with losses a little different in each; 'severe' has no label in the middle one."""
    totals = []
    for step in range(start, stop):
        values = [value * (1 + 0.1 * (step % 3)) for value in EPOCHS[step // 3]]
        total = weighting(losses_of(values), say({**SEEN, "severe": step % 3 != 1}))
        totals.append(total.item())
        if optimizer is not None:
            optimizer.zero_grad()
            total.backward()
            optimizer.step()
        if step % 3 == 2:
            weighting.end_epoch()
    return totals


@pytest.fixture(params=sorted(WEIGHTINGS))
def name(request) -> str:
    return request.param


def make(name: str, tasks) -> tuple[Weighting, torch.optim.Optimizer | None]:
    weighting = create_weighting(name, tasks, **OPTIONS.get(name, {}))
    parameters = list(weighting.parameters())
    return weighting, torch.optim.Adam(parameters, lr=0.1) if parameters else None


@pytest.mark.parametrize("say", [dict, on_device])
def test_a_task_that_is_not_observed_changes_nothing_and_gets_a_zero_gradient(name, tasks, say):
    weighting, optimizer = make(name, tasks)
    train(weighting, optimizer, stop=6)
    twin, _ = make(name, tasks)  # a step changes some weightings
    twin.load_state_dict(weighting.state_dict())
    losses = losses_of(EPOCHS[2])
    seen = {**SEEN, "dose": False}
    total = weighting({**losses, "dose": losses["dose"] * 0}, say(seen))
    other = twin({**losses_of(EPOCHS[2]), "dose": torch.tensor(123.0)}, say(seen))
    assert total == other
    total.backward()
    assert losses["dose"].grad == 0
    assert losses["oar"].grad.item() == pytest.approx(weighting.weights()["oar"])


@pytest.mark.parametrize("say", [dict, on_device])
def test_nothing_observed_gives_zero_with_a_graph(name, tasks, say):
    weighting, optimizer = make(name, tasks)
    losses = losses_of((0.0, 0.0, 0.0))
    total = weighting(losses, say(dict.fromkeys(SEEN, False)))
    assert total == 0
    total.backward()
    assert all(loss.grad == 0 for loss in losses.values())
    train(weighting, optimizer)  # and nothing is broken by it
    assert all(0 < weight < 10 for weight in weighting.weights().values())


def test_what_was_observed_may_be_known_on_the_device_only(name, tasks):
    ways = []
    for say in (dict, on_device):
        weighting, _ = make(name, tasks)
        ways.append((train(weighting, None, say=say), weighting.weights()))
    assert ways[0][0] == pytest.approx(ways[1][0], rel=1e-6)
    assert ways[0][1] == pytest.approx(ways[1][1], rel=1e-6)


def test_permuting_the_tasks_permutes_the_weights(name, tasks):
    results = []
    for order in ([0, 1, 2], [2, 0, 1]):
        weighting, optimizer = make(name, [tasks[k] for k in order])
        totals = train(weighting, optimizer)
        results.append((totals, weighting.weights()))
    assert results[0][0] == pytest.approx(results[1][0], rel=1e-6)
    assert results[0][1] == pytest.approx(results[1][1], rel=1e-6)


@pytest.mark.parametrize("stop", [3, 4, 7, 8, 11], ids=lambda step: f"after-step-{step}")
def test_resuming_in_the_middle_of_an_epoch_is_bit_exact(name, tasks, stop):
    whole, optimizer = make(name, tasks)
    expected = train(whole, optimizer)

    first, optimizer = make(name, tasks)
    values = train(first, optimizer, stop=stop)
    file = io.BytesIO()
    torch.save({"weighting": first.state_dict(), "optimizer": optimizer and optimizer.state_dict()}, file)
    train(first, optimizer, start=stop)  # what goes on after saving must not change what was saved
    file.seek(0)
    state = torch.load(file, weights_only=True)

    second, optimizer = make(name, tasks)
    second.load_state_dict(state["weighting"])
    if optimizer is not None:
        optimizer.load_state_dict(state["optimizer"])
    values += train(second, optimizer, start=stop)
    assert values == expected
    assert second.weights() == whole.weights()


def test_a_state_kept_in_memory_is_a_snapshot(tasks):
    weighting = create_weighting("dwa", tasks)
    train(weighting, None, stop=4)
    state = weighting.state_dict()
    train(weighting, None, start=4)
    other = create_weighting("dwa", tasks)
    other.load_state_dict(state)
    assert train(other, None, start=4) == train(create_weighting("dwa", tasks), None)[4:]


def test_validation_leaves_the_state_alone(name, tasks):
    weighting, optimizer = make(name, tasks)
    train(weighting, optimizer, stop=7)
    totals = []
    for validate in (False, True):
        copy, _ = make(name, tasks)
        copy.load_state_dict(weighting.state_dict())
        if validate:
            with torch.no_grad():
                copy(losses_of((50.0, 60.0, 70.0)), SEEN)
            copy.eval()(losses_of((50.0, 60.0, 70.0)), SEEN)
            copy.train()
        totals.append(train(copy, None, start=7))
    assert totals[0] == totals[1]


def test_independent_tasks_get_equal_weights_and_the_log_says_so(name, tasks, caplog):
    with caplog.at_level(logging.INFO):
        weighting = create_weighting(name, tasks, independent=True, **OPTIONS.get(name, {}))
    assert set(weighting.weights().values()) == {1.0}
    assert not list(weighting.parameters())
    assert (repr(name) in caplog.text) == (name != "equal")


def test_unknown_name_lists_those_that_exist(tasks):
    with pytest.raises(ConfigError, match=r"weighting: 'dva' is unknown.*'equal', 'static', 'dwa', 'uncertainty'"):
        create_weighting("dva", tasks)


def test_unknown_option_is_named_with_the_weighting(name, tasks):
    with pytest.raises(ConfigError, match=rf"weighting: {name}\.temp: .*unknown"):
        create_weighting(name, tasks, temp=2.0)


@pytest.mark.parametrize(
    ("name", "options", "setting"),
    [
        ("dwa", {"temperature": 0}, "dwa.temperature"),
        ("uncertainty", {"initial_log_variance": "0"}, "uncertainty.initial_log_variance"),
        ("imtl_l", {"initial_log_scale": None}, "imtl_l.initial_log_scale"),
        ("gls", {"eps": 0.0}, "gls.eps"),
        ("stch", {"mu": 0}, "stch.mu"),
        ("stch", {"form": "exp"}, "stch.form"),
        ("stch", {"warmup_epochs": -1}, "stch.warmup_epochs"),
        ("stch", {"warmup_epochs": True}, "stch.warmup_epochs"),
        ("stch", {"eps": 0.0}, "stch.eps"),
        ("stch", {"ideal": {"oar": 0.1, "dose": 0.1, "severe": 0.0}}, "stch.ideal"),
        ("stch", {"form": "raw", "preferences": {"oar": 1.0}}, "stch.preferences"),
        ("stch", {"form": "raw", "ideal": {"oar": 0.1, "dose": -0.1, "severe": 0.0}}, "stch.ideal.dose"),
        ("famo", {"learning_rate": 0}, "famo.learning_rate"),
        ("static", {}, "static.weights"),
        ("static", {"weights": {"oar": 1.0, "dose": 1.0}}, "static.weights"),
        ("static", {"weights": {"oar": 1.0, "dose": 1.0, "severe": -1.0}}, "static.weights.severe"),
    ],
)
def test_option_out_of_range_is_named(tasks, name, options, setting):
    with pytest.raises(ConfigError, match=f"weighting: {setting}: "):
        create_weighting(name, tasks, **options)


def test_equal_and_static_totals_by_hand(tasks):
    losses = losses_of((1.0, 2.0, 4.0))
    assert create_weighting("equal", tasks)(losses, SEEN) == 7
    assert create_weighting("static", tasks, **OPTIONS["static"])(losses, SEEN) == 2 * 1 + 0.5 * 2 + 4
