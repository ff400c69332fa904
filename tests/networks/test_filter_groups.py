"""Assignments of kernels to groups, against torch's own functions and finite differences."""

import pytest
import torch
from torch.nn import functional as F

from ctan_monai.errors import ConfigError
from ctan_monai.networks.filter_groups import SHARED, FilterGroupLayer, GroupingPlan, KernelGroups, Merging

ONE = torch.ones(())


def layer(plan=None, merge="sum", names=("a", "b", SHARED), kernels=6):
    torch.manual_seed(0)
    blocks = [torch.nn.Identity() for _ in names]
    return FilterGroupLayer(names, 2, 2, kernels, plan or GroupingPlan(), blocks, merge)


@pytest.mark.parametrize("hard", [True, False])
@pytest.mark.parametrize("temperature", [0.3, 1.0])
def test_samples_are_those_of_torchs_gumbel_softmax_for_the_same_noise(hard, temperature):
    groups = KernelGroups(400, 3, GroupingPlan(initial=[0.2, 0.3, 0.5], relaxation="hard" if hard else "soft"))
    torch.manual_seed(3)
    found = groups.draw(torch.tensor(temperature), 1)[0]
    torch.manual_seed(3)
    noise = -torch.log(-torch.log(torch.rand(1, 400, 3)))
    soft = F.softmax((groups.logits + noise[0]) / temperature, dim=-1)
    expected = F.one_hot(soft.argmax(-1), 3).float() if hard else soft
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)


def test_groups_are_drawn_as_often_as_their_probability_says():
    p = torch.tensor([0.2, 0.3, 0.5])
    groups = KernelGroups(20000, 3, GroupingPlan(initial=p.tolist()))
    torch.manual_seed(0)
    drawn = groups.draw(ONE, 1)[0]
    assert set(drawn.unique().tolist()) == {0.0, 1.0}
    assert (drawn.sum(1) == 1).all()
    torch.testing.assert_close(drawn.mean(0).detach(), p, atol=0.015, rtol=0)


def test_a_sure_group_is_always_drawn():
    groups = KernelGroups(500, 3, GroupingPlan("constant", [0.0, 0.0, 1.0]))
    assert (groups.draw(ONE, 4)[..., 2] == 1).all()


def test_probabilities_sum_to_1_and_start_as_told():
    for plan in (GroupingPlan(), GroupingPlan(initial="dirichlet"), GroupingPlan("mask"), GroupingPlan("constant")):
        torch.testing.assert_close(KernelGroups(7, 3, plan).probabilities().sum(1), torch.ones(7))
    given = KernelGroups(2, 3, GroupingPlan(initial=[1, 2, 1])).probabilities()
    torch.testing.assert_close(given, torch.tensor([[0.25, 0.5, 0.25]] * 2))


@pytest.mark.parametrize("speed", [1.0, 40.0])
def test_a_step_of_adam_moves_a_log_probability_speed_times_as_far_as_a_weight(speed):
    groups = KernelGroups(1, 3, GroupingPlan(initial=[0.2, 0.3, 0.5], speed=speed))
    torch.testing.assert_close(groups.probabilities(), torch.tensor([[0.2, 0.3, 0.5]]))
    optimizer = torch.optim.Adam(groups.parameters(), lr=0.01)
    before = groups.probabilities().detach().log()
    groups.probabilities()[0, 2].log().neg().backward()  # pushes the last up and the others down, by a step each
    optimizer.step()
    moved = groups.probabilities().detach().log() - before
    torch.testing.assert_close(moved[0, 2] - moved[0, 0], torch.tensor(2 * 0.01 * speed), rtol=1e-3, atol=0)
    torch.testing.assert_close(moved[0, 0], moved[0, 1], rtol=1e-3, atol=1e-6)


def test_fixed_groupings_have_no_speed():
    assert not list(KernelGroups(4, 3, GroupingPlan("mask", speed=40.0)).parameters())
    torch.testing.assert_close(
        KernelGroups(4, 3, GroupingPlan("constant", [0.2, 0.3, 0.5], speed=40.0)).probabilities()[0],
        torch.tensor([0.2, 0.3, 0.5]),
    )


def test_the_mask_gives_equal_parts_in_order():
    z = KernelGroups(6, 3, GroupingPlan("mask"))(ONE, 1)[0]
    assert z.argmax(1).tolist() == [0, 0, 1, 1, 2, 2]


def test_outside_training_the_most_probable_the_mean_or_a_sample_is_used():
    plan = GroupingPlan(initial=[0.2, 0.5, 0.3])
    groups = KernelGroups(4, 3, plan).eval()
    assert groups(ONE, 1).tolist() == [[[0, 1, 0]] * 4]
    groups.answer = "mean"
    torch.testing.assert_close(groups(ONE, 1)[0].detach(), torch.tensor([[0.2, 0.5, 0.3]] * 4))
    groups.answer = "sample"
    torch.manual_seed(0)
    assert len({tuple(groups(ONE, 1).argmax(-1).flatten().tolist()) for _ in range(20)}) > 5
    assert KernelGroups(4, 3, GroupingPlan("constant")).answer == "mean"


def test_a_group_for_each_example_differs_between_examples():
    plan = GroupingPlan(sampling="example")
    torch.manual_seed(0)
    z = KernelGroups(16, 3, plan).train()(ONE, 5)
    assert z.shape == (5, 16, 3)
    assert not torch.equal(z[0], z[1])
    assert KernelGroups(16, 3, GroupingPlan()).train()(ONE, 5).shape == (1, 16, 3)
    examples = layer(plan).train()([torch.randn(5, 2, 8, 8)] * 3, ONE)
    assert [tuple(value.shape) for value in examples] == [(5, 6, 8, 8)] * 3


def test_a_layer_routes_by_hand_computed_assignments():
    made = layer(GroupingPlan("mask")).eval()  # kernels 0, 1: a; 2, 3: b; 4, 5: shared
    inputs = list(torch.randn(3, 1, 2, 5, 5))
    a, b, shared = made(inputs, ONE)
    for index, (own, name) in enumerate(((a, "a"), (b, "b"))):
        mine = slice(2 * index, 2 * index + 2)
        kernel = made.convolve.weight
        answer = made.groups[name].head(F.conv2d(inputs[index], kernel, padding=1))[:, mine]
        common = made.groups[SHARED].head(F.conv2d(inputs[2], kernel, padding=1))[:, 4:]
        expected = torch.zeros(1, 6, 5, 5)
        expected[:, mine], expected[:, 4:] = answer, common
        torch.testing.assert_close(own, expected)
    assert not shared[:, :4].any()


def test_an_empty_group_gives_exact_zeros_whatever_its_residual_blocks_add():
    made = layer(GroupingPlan("constant", [0.0, 0.5, 0.5]), merge="none")
    for path in made.groups.values():
        path.residual = torch.nn.BatchNorm2d(6)
        torch.nn.init.ones_(path.residual.bias)  # adds 1 everywhere
    for training in (True, False):
        first, second, _ = made.train(training)([torch.randn(2, 2, 6, 6)], ONE)
        assert not first.any()
        assert second.any()


def test_merging_adds_or_convolves_and_hands_the_shared_features_on():
    own, shared = torch.randn(2, 1, 4, 3, 3)
    added = Merging(["a", SHARED], 2, 4, "sum")([own, shared])
    assert torch.equal(added[0], own + shared)
    assert torch.equal(added[1], shared)
    merging = Merging(["a", SHARED], 2, 4, "convolve")
    weight = merging.merges["a"].join.weight  # (4, 8, 1, 1)
    joined = merging([own, shared])[0]
    expected = torch.einsum("oi,bixy->boxy", weight[:, :4, 0, 0], own)
    expected = expected + torch.einsum("oi,bixy->boxy", weight[:, 4:, 0, 0], shared)
    torch.testing.assert_close(joined, expected, atol=1e-6, rtol=1e-5)
    assert Merging(["a", SHARED], 2, 4, "none")([own, shared])[0] is own


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"grouping": "random"}, r"sfg: grouping: 'random' is unknown.*'learned'"),
        ({"relaxation": "none"}, r"sfg: relaxation: 'none'"),
        ({"sampling": "kernel"}, r"sfg: sampling: 'kernel'"),
        ({"answer": "best"}, r"sfg: answer: 'best'"),
        ({"activation": "elu"}, r"sfg: activation: 'elu'"),
        ({"initial": [1, 1]}, r"sfg: initial: \[1, 1\] is no distribution over 3 groups"),
        ({"initial": [1, -1, 1]}, r"is no distribution"),
        ({"initial": [1, 0, 1]}, r"has a 0, which no gradient changes"),
    ],
)
def test_unknown_options_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        KernelGroups(4, 3, GroupingPlan(**options))
