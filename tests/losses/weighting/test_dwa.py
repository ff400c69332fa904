from __future__ import annotations

import io

import numpy as np
import pytest
import torch

from ctan_monai.errors import ConfigError
from ctan_monai.losses import DynamicWeightAverage

NAMES = ("oar", "dose", "severe")
SEEN = dict.fromkeys(NAMES, True)


def official_weights(avg_cost: np.ndarray, temperature: float = 2.0) -> np.ndarray:
    """Lambdas at the start of each epoch, as the authors' training loop defines them: (epochs + 1, tasks)."""
    epochs, tasks = avg_cost.shape
    lambdas = np.ones((epochs + 1, tasks))
    for index in range(2, epochs + 1):
        ratio = avg_cost[index - 1] / avg_cost[index - 2]
        lambdas[index] = tasks * np.exp(ratio / temperature) / np.exp(ratio / temperature).sum()
    return lambdas


def step(dwa, values, seen=SEEN):
    return dwa({name: torch.tensor(float(value)) for name, value in zip(NAMES, values, strict=True)}, seen)


def epoch(dwa, values, seen=SEEN):
    step(dwa, values, seen)
    dwa.end_epoch()
    return dwa.weights()


@pytest.mark.parametrize("temperature", [0.5, 2.0, 10.0])
def test_weights_equal_the_official_formula(tasks, temperature):
    steps = np.random.default_rng(0).uniform(0.01, 2.0, (6, 5, 3)).astype(np.float32)  # epochs, steps, tasks
    expected = official_weights(steps.astype(np.float64).mean(1), temperature)
    dwa = DynamicWeightAverage(tasks, temperature=temperature)
    found = [dwa.weights()]
    for losses in steps:
        for values in losses:
            step(dwa, values)
        dwa.end_epoch()
        found.append(dwa.weights())
    found = np.array([[weights[name] for name in NAMES] for weights in found])
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-7)
    assert np.array_equal(found[:2], np.ones((2, 3)))


def test_history_is_of_unweighted_losses(tasks):
    dwa = DynamicWeightAverage(tasks)
    for values in [(1.0, 1.0, 1.0), (0.2, 0.9, 1.0), (0.2, 0.9, 1.0)]:
        weights = epoch(dwa, values)
    assert list(weights.values()) == pytest.approx([1, 1, 1], abs=1e-12)  # nothing changed between the last two


def test_total_is_weighted(tasks):
    dwa = DynamicWeightAverage(tasks)
    epoch(dwa, (1.0, 1.0, 1.0))
    lambdas = epoch(dwa, (0.2, 0.9, 1.0))
    expected = sum(lambdas[name] * value for name, value in zip(NAMES, (0.3, 0.4, 0.5), strict=True))
    assert step(dwa, (0.3, 0.4, 0.5)).item() == pytest.approx(expected)


def test_weights_add_up_to_the_number_of_tasks_and_favor_the_slow_one(tasks):
    dwa = DynamicWeightAverage(tasks)
    epoch(dwa, (1.0, 1.0, 1.0))
    weights = epoch(dwa, (0.1, 0.9, 0.5))
    assert sum(weights.values()) == pytest.approx(3)
    assert weights["dose"] > weights["severe"] > weights["oar"]


def test_scale_of_a_loss_does_not_matter(tasks):
    plain, scaled = DynamicWeightAverage(tasks), DynamicWeightAverage(tasks)
    for a, b, c in [(1.0, 2.0, 3.0), (0.5, 1.9, 1.0)]:
        one, other = epoch(plain, (a, b, c)), epoch(scaled, (1024 * a, b / 64, c))
    assert one == other


def test_an_epoch_without_labels_of_a_task_keeps_its_last_two_observed_epochs(tasks):
    dwa = DynamicWeightAverage(tasks)
    rows = [(1.0, 1.0, 1.0), (0.5, 0.8, 0.9), (0.4, None, 0.8), (0.3, 0.7, 0.6)]
    for row in rows:
        seen = {name: value is not None for name, value in zip(NAMES, row, strict=True)}
        lambdas = epoch(dwa, [value or 0.0 for value in row], seen)
        if row[1] is None:
            ratios = np.array([0.4 / 0.5, 0.8 / 1.0, 0.8 / 0.9])  # the dose's ratio is that of the epochs before
            np.testing.assert_allclose(
                list(lambdas.values()), 3 * np.exp(ratios / 2) / np.exp(ratios / 2).sum(), atol=1e-7
            )
    ratios = np.array([0.3 / 0.4, 0.7 / 0.8, 0.6 / 0.8])  # and now of the last two in which it had labels
    np.testing.assert_allclose(list(lambdas.values()), 3 * np.exp(ratios / 2) / np.exp(ratios / 2).sum(), atol=1e-7)


def test_a_task_with_fewer_than_two_epochs_has_the_neutral_ratio(tasks):
    dwa = DynamicWeightAverage(tasks)
    for values in [(1.0, 0.0, 1.0), (0.5, 0.0, 0.5)]:
        weights = epoch(dwa, values, {**SEEN, "dose": False})
    ratios = np.array([0.5, 1.0, 0.5])
    np.testing.assert_allclose(list(weights.values()), 3 * np.exp(ratios / 2) / np.exp(ratios / 2).sum(), atol=1e-7)


def test_steps_without_labels_do_not_dilute_the_mean(tasks):
    dwa, other = DynamicWeightAverage(tasks), DynamicWeightAverage(tasks)
    for scale in (1.0, 0.5):
        step(dwa, (scale, scale, 1.0))
        step(dwa, (scale, 0.0, 1.0), {**SEEN, "dose": False})
        dwa.end_epoch()
        epoch(other, (scale, scale, 1.0))
    assert dwa.weights() == other.weights()


@pytest.mark.parametrize("second", [0.0, 0.5], ids=["stays-zero", "rises"])
def test_a_loss_of_zero_has_the_neutral_ratio(tasks, second):
    dwa = DynamicWeightAverage(tasks)
    epoch(dwa, (1.0, 0.0, 1.0))
    weights = epoch(dwa, (1.0, second, 1.0))
    assert list(weights.values()) == pytest.approx([1.0, 1.0, 1.0])


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_does_not_spoil_the_epoch(tasks, bad):
    dwa, clean = DynamicWeightAverage(tasks), DynamicWeightAverage(tasks)
    for values in [(1.0, 0.8, 1.0), (0.4, 0.6, 0.7)]:
        step(dwa, (values[0], bad, values[2]))
        expected, found = epoch(clean, values), epoch(dwa, values)
    assert found == pytest.approx(expected, abs=1e-12)


def test_a_ratio_beyond_the_range_of_exp_gives_finite_weights(tasks):
    dwa = DynamicWeightAverage(tasks)
    epoch(dwa, (1e-6, 1.0, 1.0))
    assert list(epoch(dwa, (1e6, 1.0, 1.0)).values()) == [3.0, 0.0, 0.0]


@pytest.mark.parametrize("epochs", [0, 1, 2, 3])
def test_a_checkpoint_of_any_length_of_history_can_be_loaded(tasks, epochs):
    rows = [(1.0, 0.9, 0.8), (0.5, 0.8, 0.9), (0.4, 0.7, 0.8)]
    dwa, other = DynamicWeightAverage(tasks), DynamicWeightAverage(tasks)
    for row in rows[:epochs]:
        epoch(dwa, row)
    for row in reversed(rows):
        epoch(other, row)
    file = io.BytesIO()
    torch.save(dwa.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert other.weights() == dwa.weights()
    assert epoch(other, (0.3, 0.6, 0.1)) == epoch(dwa, (0.3, 0.6, 0.1))


def test_a_checkpoint_of_other_tasks_is_refused(tasks):
    state = DynamicWeightAverage(tasks[:2]).state_dict()
    with pytest.raises(ConfigError, match=r"\['dose', 'oar'\], expected \['dose', 'oar', 'severe'\]"):
        DynamicWeightAverage(tasks).load_state_dict(state)
