"""PCGrad against projections by hand, against the textbook's loop, and against torchjd's on the same Jacobian."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ctan_monai.losses import create_weighting
from ctan_monai.losses.weighting.gradient import inner_products
from ctan_monai.losses.weighting.pcgrad import projected_weights

NAMES = ("oar", "dose", "severe")


def step(weighting, observed=NAMES):
    """Tell a weighting that a step with these tasks has been made."""
    losses = {name: torch.tensor(1.0, requires_grad=True) for name in NAMES}
    weighting(losses, {name: name in observed for name in NAMES})


def random_gradients(seed, tensors=((2, 3), (4,), (1, 2, 2))):
    """Draw gradients of all tasks at some tensors, all in conflict, because they almost add up to 0."""
    generator = torch.Generator().manual_seed(seed)
    drawn = [torch.randn(3, *shape, generator=generator) for shape in tensors]
    return [dict(zip(NAMES, (part - 0.9 * part.mean(0)).unbind(), strict=True)) for part in drawn]


def flat(gradients, name):
    return torch.cat([parts[name].flatten() for parts in gradients])


def textbook(rows, orders):
    """Project vectors one after the other, as the paper's algorithm 1 says it."""
    total = torch.zeros_like(rows[0])
    for row, order in zip(rows, orders, strict=True):
        projected = row.clone()
        for other in order:
            inner = projected @ rows[other]
            if inner < 0:
                projected -= inner / (rows[other] @ rows[other]) * rows[other]
        total += projected
    return total


def test_two_gradients_in_conflict_by_hand(tasks):
    # g1 = (1, 0), g2 = (-1, 1), g1 . g2 = -1: g1 + g2 / 2 = (0.5, 0.5) and g2 + g1 = (0, 1)
    pcgrad = create_weighting("pcgrad", tasks[:2])
    (found,) = pcgrad.combine([{"oar": torch.tensor([1.0, 0.0]), "dose": torch.tensor([-1.0, 1.0])}])
    assert found.tolist() == [0.5, 1.5]


def test_what_one_task_alone_reads_is_left_alone_and_counts_in_no_projection(tasks):
    pcgrad = create_weighting("pcgrad", tasks[:2])
    both = {"oar": torch.tensor([1.0, 0.0]), "dose": torch.tensor([-1.0, 1.0])}
    shared, own = pcgrad.combine([both, {"oar": torch.tensor([7.0])}])
    assert shared.tolist() == [0.5, 1.5]
    assert own.tolist() == [7.0]


def test_a_task_that_does_not_read_what_two_others_do_has_a_gradient_of_zero_there():
    # oar and dose meet in a and b, severe only in b: g = (1, 0 | 0), (-1, 1 | 1), (0, 0 | -1); dose . severe = -1,
    # oar . dose = -1. oar + dose / 3, severe + dose / 3, and dose + oar + severe, which are perpendicular.
    a = {"oar": torch.tensor([1.0, 0.0]), "dose": torch.tensor([-1.0, 1.0])}
    b = {"oar": torch.tensor([0.0]), "dose": torch.tensor([1.0]), "severe": torch.tensor([-1.0])}
    weights = projected_weights(inner_products([a, b], NAMES), [[1], [0, 2], [1]])
    torch.testing.assert_close(weights, torch.tensor([2.0, 1 + 2 / 3, 2.0]))


def test_without_a_conflict_the_gradients_are_added_up_to_the_bit(tasks):
    gradients = [
        {"oar": torch.tensor([1.0, 0.1]), "dose": torch.tensor([0.3, 0.2]), "severe": torch.tensor([0.0, 7.0])}
    ]
    (found,) = create_weighting("pcgrad", tasks).combine(gradients)
    assert torch.equal(found, gradients[0]["oar"] + gradients[0]["dose"] + gradients[0]["severe"])


@pytest.mark.parametrize("seed", range(6))
def test_three_tasks_are_projected_as_the_paper_says(seed):
    gradients = random_gradients(seed)
    rows = [flat(gradients, name) for name in NAMES]
    orders = [np.random.default_rng(seed + i).permutation([k for k in range(3) if k != i]).tolist() for i in range(3)]
    weights = projected_weights(inner_products(gradients, NAMES), orders)
    torch.testing.assert_close(weights @ torch.stack(rows), textbook(rows, orders))


@pytest.mark.parametrize("seed", range(6))
def test_torchjd_finds_the_same_with_the_same_orders(seed):
    aggregation = pytest.importorskip("torchjd.aggregation")
    gradients = random_gradients(seed)
    jacobian = torch.stack([flat(gradients, name) for name in NAMES])
    assert (jacobian @ jacobian.T).min() < 0, "nothing to project"
    torch.manual_seed(seed)
    orders = [[k for k in torch.randperm(3).tolist() if k != i] for i in range(3)]  # as torchjd will draw them
    torch.manual_seed(seed)
    expected = aggregation.PCGrad()(jacobian)
    weights = projected_weights(inner_products(gradients, NAMES), orders)
    torch.testing.assert_close(weights @ jacobian, expected)


@pytest.mark.parametrize("name", ["pcgrad", "upgrad", "mgda", "aligned_mtl", "imtl_g", "cagrad"])
def test_the_order_of_the_tasks_does_not_matter(name, tasks):
    found = []
    for order in ([0, 1, 2], [2, 0, 1]):
        weighting = create_weighting(name, [tasks[k] for k in order], seed=5)
        for _ in range(3):
            step(weighting)
        found.append(weighting.combine(random_gradients(1)))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_a_task_without_labels_takes_no_part_whatever_its_gradient(tasks):
    pcgrad, pair = create_weighting("pcgrad", tasks), create_weighting("pcgrad", tasks[:2])
    step(pcgrad, ("oar", "dose"))
    gradients = random_gradients(2)
    without = [{name: parts[name] for name in ("oar", "dose")} for parts in gradients]
    zero = [{**parts, "severe": torch.zeros_like(parts["severe"])} for parts in gradients]
    for found, expected in zip(pcgrad.combine(zero), pair.combine(without), strict=True):
        torch.testing.assert_close(found, expected)
    step(pcgrad, ("dose",))
    alone = [{name: part * (name == "dose") for name, part in parts.items()} for parts in gradients]
    assert all(torch.equal(*pair) for pair in zip(pcgrad.combine(alone), (p["dose"] for p in gradients), strict=True))


@pytest.mark.parametrize("name", ["pcgrad", "graddrop"])
def test_what_is_random_depends_on_seed_and_step_alone_and_continues_from_a_state(name, tasks):
    def answers(weighting, count):
        found = []
        for _ in range(count):
            step(weighting)
            found.append(torch.cat([part.flatten() for part in weighting.combine(random_gradients(4))]))
        return torch.stack(found)

    whole = answers(create_weighting(name, tasks, seed=3), 12)
    assert len(whole.unique(dim=0)) > 1  # it is random
    assert not torch.equal(whole, answers(create_weighting(name, tasks, seed=4), 12))
    first = create_weighting(name, tasks, seed=3)
    begun = answers(first, 5)
    torch.manual_seed(99)
    second = create_weighting(name, tasks)
    second.load_state_dict(first.state_dict())
    assert torch.equal(torch.cat([begun, answers(second, 7)]), whole)


def test_without_a_seed_it_takes_the_runs(tasks):
    torch.manual_seed(12)
    unseeded = create_weighting("pcgrad", tasks)
    assert unseeded.get_extra_state() == create_weighting("pcgrad", tasks, seed=12).get_extra_state()


def test_the_loss_is_the_plain_sum_and_all_weights_are_one(tasks):
    pcgrad = create_weighting("pcgrad", tasks)
    losses = {name: torch.tensor(value) for name, value in zip(NAMES, (1.0, 2.0, 4.0), strict=True)}
    assert pcgrad(losses, dict.fromkeys(NAMES, True)) == 7
    assert pcgrad.weights() == dict.fromkeys(NAMES, 1.0)


def test_scaling_all_losses_scales_the_result_to_the_bit(tasks):
    pcgrad = create_weighting("pcgrad", tasks)
    scaled = [{name: 65536 * part for name, part in parts.items()} for parts in random_gradients(3)]
    for one, other in zip(pcgrad.combine(scaled), pcgrad.combine(random_gradients(3)), strict=True):
        assert torch.equal(one, 65536 * other)


def test_half_precision_gradients_are_multiplied_in_float32():
    ones = torch.full((3000,), 1.0 + 2**-7, dtype=torch.bfloat16)
    (product,) = inner_products([{"oar": ones}], ["oar"]).flatten()
    assert product.item() == pytest.approx(3000 * (1 + 2**-7) ** 2, rel=1e-6)  # bfloat16 keeps two or three digits
