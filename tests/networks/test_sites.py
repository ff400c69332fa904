"""What passes a site can be read and exchanged; expected values are worked out by hand."""

from typing import NamedTuple

import torch
from torch import nn

from ctan_monai.networks.parts import Site
from ctan_monai.networks.sites import recording, replacing


class Pair(NamedTuple):
    """Two tensors by name, as `Features` has them."""

    u: list[torch.Tensor]
    p: list[torch.Tensor]


class Twice(nn.Module):
    """2 a + the second of b.u."""

    def forward(self, a, b):
        return 2 * a + b.u[1]


class Network(nn.Module):
    """Calls one module twice: first with (x, 3), then with its own answer and 5."""

    def __init__(self):
        super().__init__()
        self.twice = Twice()

    def forward(self, x):
        first = self.twice(x, Pair([x, x + 3], []))  # 3 x + 3
        return {"first": first, "second": self.twice(first, Pair([x, x + 5], []))}  # 7 x + 11


X = torch.tensor([[1.0], [2.0]])
SECOND_OF_U = Site("u", "twice", (1, "u", 1))
RESULT = Site("result", "twice", output=True, call=0)


def test_values_are_read_at_arguments_and_results_of_a_chosen_call():
    network = Network()
    late = Site("u", "twice", (1, "u", 1), call=1)
    with recording(network, [late, RESULT]) as found:
        network(X)
    assert torch.equal(found[late], X + 5)
    assert torch.equal(found[RESULT], 3 * X + 3)


def test_a_replaced_argument_acts_in_each_call_that_the_site_names():
    network = Network()
    with replacing(network, {SECOND_OF_U: torch.zeros(2, 1)}):
        both = network(X)
    assert torch.equal(both["first"], 2 * X)
    assert torch.equal(both["second"], 4 * X)
    with replacing(network, {Site("u", "twice", (1, "u", 1), call=1): torch.zeros(1, 1)}):
        last = network(X)
    assert torch.equal(last["first"], 3 * X + 3)
    assert torch.equal(last["second"], 6 * X + 6)


def test_a_replaced_result_is_what_follows_it_sees():
    network = Network()
    with replacing(network, {RESULT: torch.full((1, 1), 10.0)}):
        assert torch.equal(network(X)["second"], 20 + X + 5)


def test_afterwards_the_network_is_as_it_was_and_calls_are_counted_anew_in_each_pass():
    network = Network()
    with recording(network, [RESULT]) as found:
        network(X)
        network(10 * X)
    assert torch.equal(found[RESULT], 30 * X + 3)
    assert torch.equal(network(X)["second"], 7 * X + 11)
    assert not network._forward_pre_hooks
    assert not network.twice._forward_hooks
