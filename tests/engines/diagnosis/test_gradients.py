"""Gradients of tasks at shared layers, worked out by hand."""

import math

import pytest
import torch
from torch import nn

from ctan_monai.engines.diagnosis.gradients import compare_gradients, shared_gradients
from ctan_monai.networks.base import MultiTaskNetwork
from ctan_monai.networks.parts import shared_part
from ctan_monai.tasks import Regression

TASKS = (Regression("a", "Gy", 1.0, level="image"), Regression("b", "Gy", 1.0, level="image"))


class Linear(MultiTaskNetwork):
    """Both tasks read w x, of which a takes the first entry and b the first plus the second."""

    method = "linear"
    task_containers = ("heads",)

    def __init__(self):
        super().__init__(TASKS, 2)
        self.body = nn.Linear(2, 2, bias=False)
        self.heads = nn.ModuleDict({"a": nn.Linear(2, 1, bias=False), "b": nn.Linear(2, 1, bias=False)})
        with torch.no_grad():
            self.heads["a"].weight.copy_(torch.tensor([[1.0, 0.0]]))
            self.heads["b"].weight.copy_(torch.tensor([[1.0, 1.0]]))

    def parts(self):
        return [shared_part("body", "body")]

    def forward(self, image):
        shared = self.body(image.flatten(1))
        return {name: head(shared) for name, head in self.heads.items()}


class Sums(nn.Module):
    """Each task's loss is the sum of its outputs; b has no label where its target is negative."""

    def task_losses(self, outputs, targets):
        return {name: value.sum() for name, value in outputs.items()}, {"a": True, "b": bool(targets["b"] >= 0)}


def test_norms_and_cosines_are_those_of_the_gradients_by_hand():
    network = Linear()
    image = torch.tensor([3.0, 4.0]).reshape(1, 1, 2, 1)
    [row] = shared_gradients(network, Sums(), [(image, {"b": torch.tensor(1.0)})], lambda x, net: net(x))
    # dL_a/dW = [[3, 4], [0, 0]]; dL_b/dW = [[3, 4], [3, 4]]; inner product 25
    assert row["layer"] == "weights of body"
    assert row["norm"] == pytest.approx({"a": 5.0, "b": math.sqrt(50)})
    assert row["cosine"]["a and b"] == pytest.approx(25 / (5 * math.sqrt(50)))


def test_a_batch_without_a_label_says_nothing_of_the_task_and_the_network_stays_as_it_is():
    network = Linear().eval()
    image = torch.ones(1, 1, 2, 1)
    batches = [(image, {"b": torch.tensor(-1.0)}), (2 * image, {"b": torch.tensor(1.0)})]
    [row] = shared_gradients(network, Sums(), batches, lambda x, net: net(x))
    assert row["norm"]["a"] == pytest.approx(1.5 * math.sqrt(2))  # the mean of sqrt(2) and 2 sqrt(2)
    assert row["norm"]["b"] == pytest.approx(4)
    assert math.isnan(row["cosine_by_batch"]["a and b"][0])
    assert not network.training
    assert all(value.grad is None for value in network.parameters())


def test_opposed_gradients_have_cosine_minus_one_and_a_zero_gradient_none():
    one, two = torch.tensor([1.0, -2.0]), torch.tensor([-3.0, 6.0])
    assert compare_gradients({"a": [one], "b": [two]})[1]["a and b"] == pytest.approx(-1)
    assert math.isnan(compare_gradients({"a": [one], "b": [0 * two]})[1]["a and b"])
