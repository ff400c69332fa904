"""What a trainer's CUDA graphs cannot do is refused with the reason; what they do, tests/gpu shows."""

from types import SimpleNamespace

import pytest
import torch
from engine_kit import SmallNetwork, make_loader, make_trainer
from torch import nn

from ctan_monai.engines.loop.graphed import graphed_network
from ctan_monai.errors import ConfigError


class Penalized(SmallNetwork):
    def penalty(self):
        return {"weights": sum(weight.square().sum() for weight in self.parameters())}


def trainer_with(**changes):
    """Stand for a trainer on a GPU, of which nothing but settings is read."""
    plain = {"network": SmallNetwork(), "accumulation_steps": 1, "task_gradients": None, "precision": None}
    return SimpleNamespace(**{**plain, "state": SimpleNamespace(device="cuda:0"), **changes})


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"state": SimpleNamespace(device=torch.device("cpu"))}, "the device is cpu, and has none"),
        ({"accumulation_steps": 4}, "gradients of 4 batches are added up"),
        ({"task_gradients": object()}, "the weighting takes the tasks' gradients apart"),
        ({"network": Penalized()}, "the network has a penalty"),
        ({"network": nn.DataParallel(SmallNetwork())}, "the network is wrapped"),
        ({"network": torch.compile(SmallNetwork())}, "the network is wrapped"),
    ],
)
def test_what_graphs_cannot_do_is_refused_with_the_reason(changes, reason):
    with pytest.raises(ConfigError, match=rf"cuda_graph: {reason}.*Leave cuda_graph false"):
        graphed_network(trainer_with(**changes))
    assert graphed_network(trainer_with()).spatial_dims == 2


def test_a_trainer_on_a_cpu_refuses_them():
    with pytest.raises(ConfigError, match=r"cuda_graph: the device is cpu"):
        make_trainer(SmallNetwork(), make_loader(2), cuda_graph="true")
