"""A network's own penalty is added to the loss once, whatever joins the tasks, and logged term by term."""

import json

import pytest
import torch
from engine_kit import OAR, TASKS, SmallNetwork, make_loader, make_trainer, weights

from ctan_monai.engines import History
from ctan_monai.losses import MultiTaskLoss, create_weighting
from ctan_monai.networks import create_network
from ctan_monai.networks.filter_groups import KernelGroups


class Decaying(SmallNetwork):
    """A SmallNetwork with half the squared norm of its weights for a penalty."""

    def penalty(self):
        return {"half": 0.5 * sum(value.square().sum() for value in self.parameters())}


@pytest.mark.parametrize("accumulation_steps", [1, 2])
def test_half_the_squared_norm_is_weight_decay(accumulation_steps):
    plain, penalized = SmallNetwork(), Decaying()
    penalized.load_state_dict(plain.state_dict())
    trainer = make_trainer(plain, make_loader(4), accumulation_steps=accumulation_steps)
    trainer.optimizer.param_groups[0]["weight_decay"] = 1.0
    trainer.run()
    make_trainer(penalized, make_loader(4), accumulation_steps=accumulation_steps).run()
    for name, value in weights(plain).items():
        torch.testing.assert_close(weights(penalized)[name], value)


@pytest.mark.parametrize("weighting", ["dwa", "gls", "pcgrad"])
def test_no_weighting_sees_it(weighting):
    torch.manual_seed(0)
    options = {"sfg": {"layer_scale": 0.15, "repeats": 1, "l2": 1.0, "entropy": 0.5}}
    network = create_network("sfg", TASKS, network_options=options)
    loss = MultiTaskLoss(TASKS, create_weighting(weighting, TASKS))
    trainer = make_trainer(network, make_loader(2), loss=loss)
    joined = []
    plain = loss.weighting.forward
    loss.weighting.forward = lambda *given: joined.append(plain(*given)) or joined[-1]
    before = {name: value.detach().clone() for name, value in network.named_parameters()}
    trainer.run()
    output = trainer.state.output
    assert set(output["penalty"]) == {"l2", "entropy"}
    torch.testing.assert_close(output["loss"], joined[-1].detach() + sum(output["penalty"].values()))
    logits = [key for key, _ in network.named_parameters() if key.endswith("assign.logits")]
    assert all(not torch.equal(before[key], network.get_parameter(key)) for key in logits)


def test_its_terms_are_in_the_history(tmp_path):
    network = create_network("sfg", (OAR,), network_options={"sfg": {"layer_scale": 0.15, "repeats": 1}})
    history = History(tmp_path)
    make_trainer(network, make_loader(2), train_handlers=[history]).run()
    train = json.loads((tmp_path / "metrics.json").read_text())["epochs"][0]["train"]
    assert train["loss"] == pytest.approx(train["oar"] + train["penalty_l2"] + train["penalty_entropy"], rel=1e-5)
    entropy = sum(m.probabilities().log().mul(m.probabilities()).sum(1).mean() for m in _assignments(network))
    assert train["penalty_entropy"] == pytest.approx(0.01 * entropy.item(), rel=0.01)


def _assignments(network):
    return [module for module in network.modules() if isinstance(module, KernelGroups)]
