import pytest
import torch
from engine_kit import TASKS, SmallNetwork, make_loader, make_loss, make_trainer

from ctan_monai.engines import trainable_parameters
from ctan_monai.errors import ConfigError


def test_a_loss_without_parameters_adds_no_group():
    network = SmallNetwork()
    (group,) = trainable_parameters(network, make_loss())
    assert group["params"] == list(network.parameters())


def test_frozen_parameters_are_left_out():
    network = SmallNetwork()
    network.body.requires_grad_(False)
    (group,) = trainable_parameters(network)
    assert group["params"] == list(network.heads.parameters())


def test_a_network_that_is_frozen_as_a_whole_is_an_error():
    with pytest.raises(ConfigError, match="trainable"):
        trainable_parameters(SmallNetwork().requires_grad_(False))


def test_weight_decay_does_not_reach_the_log_variances():
    network, loss = SmallNetwork(), make_loss(weighting="uncertainty")
    optimizer = torch.optim.SGD(trainable_parameters(network, loss), lr=1.0, weight_decay=0.5)
    with torch.no_grad():
        for parameter in [*network.parameters(), *loss.parameters()]:
            parameter.fill_(1.0)
            parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    assert all((parameter == 0.5).all() for parameter in network.parameters())
    assert len(list(loss.parameters())) == len(TASKS)
    assert all(parameter == 1.0 for parameter in loss.parameters())


def test_training_moves_the_log_variances():
    network, loss = SmallNetwork(), make_loss(weighting="uncertainty")
    trainer = make_trainer(network, make_loader(2), loss=loss)
    trainer.optimizer = torch.optim.Adam(trainable_parameters(network, loss), lr=0.1, fused=True)
    trainer.run()
    assert all(weight != 1.0 for weight in loss.weighting.weights().values())
