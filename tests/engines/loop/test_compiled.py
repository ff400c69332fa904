"""Training steps through torch.compile; tests/gpu has its modes on a GPU."""

import copy

import pytest
from engine_kit import SmallNetwork, assert_same_weights, make_loader, make_loss, make_trainer, weights

from ctan_monai.engines.loop.compiled import compiled_network
from ctan_monai.errors import ConfigError


class Penalized(SmallNetwork):
    def penalty(self):
        return {"weights": sum(weight.square().sum() for weight in self.parameters())}


def test_a_compiled_training_goes_as_a_plain_one():
    network = SmallNetwork()
    other = copy.deepcopy(network)
    make_trainer(network, make_loader(6), epochs=2).run()
    trainer = make_trainer(other, make_loader(6), epochs=2, compile_mode="true")
    trainer.run()
    assert hasattr(trainer._compiled, "_orig_mod")
    assert_same_weights(weights(other), weights(network), rtol=1e-4, atol=1e-6)
    assert set(other.state_dict()) == set(network.state_dict())


def test_it_is_off_unless_asked_for():
    assert make_trainer(SmallNetwork(), make_loader(2))._compiled is None
    assert make_trainer(SmallNetwork(), make_loader(2), compile_mode="False")._compiled is None


@pytest.mark.parametrize(
    ("network", "weighting", "mode", "reason"),
    [
        (SmallNetwork, "equal", "fast", "compile: 'fast' is no mode"),
        (Penalized, "equal", "default", "the network's penalty"),
        (SmallNetwork, "pcgrad", "reduce-overhead", "takes the tasks' gradients apart"),
    ],
)
def test_what_cannot_be_compiled_is_refused_with_the_reason(network, weighting, mode, reason):
    made = network()
    made.decoders = made.heads
    with pytest.raises(ConfigError, match=reason):
        make_trainer(made, make_loader(2), loss=make_loss(made.tasks, weighting), compile_mode=mode)


def test_a_machine_without_a_compiler_says_so(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(ConfigError, match=r"no compiler of C\+\+ was found \(g\+\+\)"):
        make_trainer(SmallNetwork(), make_loader(2), compile_mode=True)
    assert compiled_network(make_trainer(SmallNetwork(), make_loader(2)), False) is None
