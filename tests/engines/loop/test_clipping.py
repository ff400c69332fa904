import pytest
import torch
from engine_kit import SeparateNetworks, SmallNetwork

from ctan_monai.engines.loop.parameters import clip_gradients, gradient_groups


def with_gradients(network, scale=1.0):
    for index, parameter in enumerate(network.parameters()):
        parameter.grad = scale * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(index))
    return network


def gradients(network):
    return [parameter.grad.clone() for parameter in network.parameters()]


def clip(network, clip_norm):
    groups = gradient_groups(network)
    clip_gradients(groups, [group.norm.item() for group in groups], clip_norm)


def test_large_gradients_are_scaled_as_torch_does():
    ours, torchs = with_gradients(SmallNetwork()), with_gradients(SmallNetwork())
    clip(ours, 0.5)
    torch.nn.utils.clip_grad_norm_(torchs.parameters(), 0.5)
    torch.testing.assert_close(gradients(ours), gradients(torchs), rtol=0, atol=0)


def test_gradients_within_the_limit_stay_to_the_bit():
    network = with_gradients(SmallNetwork())
    before = gradients(network)
    clip(network, 1e3)
    torch.testing.assert_close(gradients(network), before, rtol=0, atol=0)


def test_independent_tasks_are_clipped_each_alone():
    network = with_gradients(SeparateNetworks())
    for parameter in network.task_parameters("oar"):
        parameter.grad *= 1e4  # must not make the others small
    alone = {
        name: with_gradients(SmallNetwork((task,))) for name, task in zip(network.branches, network.tasks, strict=True)
    }
    for name, twin in alone.items():
        for parameter, twin_parameter in zip(network.task_parameters(name), twin.parameters(), strict=True):
            twin_parameter.grad = parameter.grad.clone()
        torch.nn.utils.clip_grad_norm_(twin.parameters(), 1.0)
    clip(network, 1.0)
    for name, twin in alone.items():
        torch.testing.assert_close([p.grad for p in network.task_parameters(name)], gradients(twin), rtol=0, atol=0)


def test_parameters_without_gradient_are_left_out():
    network = SmallNetwork()
    assert gradient_groups(network) == []
    network.heads["dose"].bias.grad = torch.tensor([3.0])
    (group,) = gradient_groups(network)
    assert group.norm.item() == 3.0


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_gradients_that_are_not_finite_are_left_for_others_to_report(bad):
    network = with_gradients(SmallNetwork())
    network.heads["dose"].bias.grad[0] = bad
    before = gradients(network)
    clip(network, 0.1)
    torch.testing.assert_close(gradients(network), before, rtol=0, atol=0, equal_nan=True)
