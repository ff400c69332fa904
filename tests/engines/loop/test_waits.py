"""A training step asks its device for no number; what is not finite is found afterwards, and has changed nothing."""

import copy

import pytest
import torch
from device_waits import Copies, Waits
from engine_kit import TASKS, SmallNetwork, assert_same_weights, make_item, make_loader, make_loss, weights
from ignite.engine import Events
from monai.data import DataLoader
from torch import nn

from ctan_monai.engines import MultiTaskTrainer, NonFiniteError
from ctan_monai.engines.loop.parameters import trainable_parameters
from ctan_monai.errors import ConfigError
from ctan_monai.losses import MultiTaskLoss, create_weighting
from ctan_monai.losses.weighting import WEIGHTINGS
from ctan_monai.networks import create_network

# torchjd reads the Jacobian; how often in a step (docs/adr/0021), None: as often as its search takes
BY_SOLVER = {"upgrad": 4, "mgda": None, "aligned_mtl": 7, "imtl_g": 5, "cagrad": 4, "graddrop": 4}
OPTIONS = {"static": {"weights": {task.name: 1.0 for task in TASKS}}}


def make_trainer(network, loader, weighting="equal", every=20, optimizer=torch.optim.Adam, epochs=1, **options):
    loss = MultiTaskLoss(TASKS, create_weighting(weighting, TASKS, **OPTIONS.get(weighting, {})))
    made = optimizer(trainable_parameters(network, loss), lr=0.01, fused=True)
    return MultiTaskTrainer("cpu", epochs, loader, network, made, loss, finite_check_every=every, **options)


def count_waits(monkeypatch, trainer, steps):
    """Make steps of a trainer, the last of them counted."""
    monkeypatch.setattr(torch.Tensor, "tolist", lambda tensor: [one.item() for one in tensor.reshape(-1)])
    waits = Waits()
    trainer.state.epoch_length, trainer.state.epoch = 100, 1
    for number in range(steps):
        trainer.state.iteration = number + 1
        trainer.state.batch = trainer.data_loader[number]
        if number < steps - 1:
            trainer._iteration(trainer, trainer.state.batch)
    with waits:
        trainer._iteration(trainer, trainer.state.batch)
    return waits.found


class Branching(SmallNetwork):
    """A SmallNetwork whose heads are called decoders, where a weighting may join gradients."""

    def __init__(self):
        super().__init__()
        self.decoders = self.heads


@pytest.mark.parametrize("weighting", sorted(set(WEIGHTINGS) - set(BY_SOLVER)))
@pytest.mark.parametrize("clip_norm", [None, 1.0])
def test_no_step_waits(monkeypatch, weighting, clip_norm):
    trainer = make_trainer(Branching(), list(make_loader(4)), weighting, clip_norm=clip_norm)
    assert count_waits(monkeypatch, trainer, 2) == []


@pytest.mark.parametrize("method", ["ctan", "mtan", "hps", "stl"])
def test_no_network_waits(monkeypatch, method):
    network = create_network(method, TASKS, "resnet18", in_channels=1)
    trainer = make_trainer(network, list(make_loader(4, shape=(32, 32))))
    assert count_waits(monkeypatch, trainer, 1) == []


@pytest.mark.parametrize("weighting", sorted(BY_SOLVER))
def test_a_solver_waits_in_each_step(monkeypatch, weighting):
    pytest.importorskip("torchjd")
    trainer = make_trainer(Branching(), list(make_loader(4)), weighting)
    found = len(count_waits(monkeypatch, trainer, 2))
    assert found == BY_SOLVER[weighting] or (BY_SOLVER[weighting] is None and found > 7)


@pytest.mark.parametrize("weighting", sorted(WEIGHTINGS))
def test_network_loss_and_targets_lie_on_one_device(weighting):
    trainer = make_trainer(Branching(), make_loader(2), weighting)
    network, loss = trainer.network.to("meta"), trainer.loss_function.to("meta")
    image, targets = trainer.prepare_batch(next(iter(make_loader(2))), torch.device("meta"))
    tensors = [image, *targets.values()]
    for module in (network, loss):
        tensors += [*module.parameters(), *module.buffers()]
    assert {tensor.device.type for tensor in tensors} == {"meta"}


@pytest.mark.parametrize("weighting", sorted(set(WEIGHTINGS) - set(BY_SOLVER)))
def test_nothing_is_copied_to_the_device_but_the_batch(weighting):
    network = Branching().to("meta")
    loss = MultiTaskLoss(TASKS, create_weighting(weighting, TASKS, **OPTIONS.get(weighting, {})))
    items = next(iter(make_loader(2))).items()
    batch = {key: torch.empty_like(value, device="meta") if torch.is_tensor(value) else value for key, value in items}
    optimizer = torch.optim.Adam(trainable_parameters(network, loss.to("meta")))
    trainer = MultiTaskTrainer("meta", 1, [batch], network, optimizer, loss)
    trainer.state.epoch, trainer.state.iteration = 1, 1
    with Copies() as copies:
        trainer.compute_gradients(batch, 1)
    assert copies.found == []
    with copies:
        torch.eye(2).to("meta")  # it can fail
    assert copies.found == ["_to_copy"]


def test_a_step_that_is_looked_at_waits_and_is_counted(monkeypatch):
    trainer = make_trainer(SmallNetwork(), list(make_loader(4)), every=1)
    assert count_waits(monkeypatch, trainer, 2)


@pytest.mark.parametrize("clip_norm", [None, 0.1])
def test_the_weights_are_those_of_steps_that_are_looked_at(clip_norm):
    found = []
    for every in (1, 3):
        network = SmallNetwork() if not found else found[0][1]
        start = copy.deepcopy(network)
        make_trainer(start, make_loader(14), "dwa", every=every, epochs=2, clip_norm=clip_norm).run()
        found.append((weights(start), network))
    assert_same_weights(found[1][0], found[0][0], rtol=0, atol=0)


class WithStatistics(SmallNetwork):
    """A SmallNetwork that normalizes by batch."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(1)

    def forward(self, image):
        return super().forward(self.norm(image))


def everything(trainer):
    """Copy what a training step changes."""
    state = {"network": trainer.network.state_dict(), "loss": trainer.loss_function.state_dict()}
    return copy.deepcopy({**state, "optimizer": trainer.optimizer.state_dict()["state"]})


@pytest.mark.promise(3, "looked at every few steps, a NaN in an image leaves weights, moments and statistics as before")
@pytest.mark.parametrize(("bad", "every"), [(3, 5), (3, 3), (1, 2), (5, 4), (0, 20)])
def test_a_damaged_image_is_named_later_and_has_changed_nothing(bad, every):
    items = [make_item(index) for index in range(14)]
    items[2 * bad + 1]["image"][0, 0, 0] = float("nan")
    torch.manual_seed(0)
    trainer = make_trainer(WithStatistics(), DataLoader(items, batch_size=2), "famo", every=every)
    kept = {}

    def keep(engine):
        if engine.state.iteration == bad + 1:
            kept.update(everything(trainer))

    trainer.add_event_handler(Events.ITERATION_STARTED, keep)
    message = rf"loss is not finite at epoch 1, iteration {bad + 1},.*image of pt_{2 * bad + 1} holds.*verify"
    with pytest.raises(NonFiniteError, match=message) as caught:
        trainer.run()
    assert caught.value.cases == (f"pt_{2 * bad}", f"pt_{2 * bad + 1}")
    now = everything(trainer)
    for part in ("network", "loss"):
        torch.testing.assert_close(now[part], kept[part], rtol=0, atol=0, equal_nan=True)
    for number, state in now["optimizer"].items():  # Adam makes its state in the first step, skipped or not
        before = kept["optimizer"].get(number, {key: torch.zeros_like(value) for key, value in state.items()})
        torch.testing.assert_close(state, before, rtol=0, atol=0)


def test_a_gradient_that_is_not_finite_is_found_although_the_loss_is():
    def loss(outputs, targets):
        return (0.0 * outputs["dose"].sum()).abs().sqrt()  # 0, with the slope of a square root at 0

    network = SmallNetwork()
    before = weights(network)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, fused=True)
    trainer = MultiTaskTrainer("cpu", 1, make_loader(6), network, optimizer, loss, finite_check_every=10)
    with pytest.raises(NonFiniteError, match=r"gradient is not finite at epoch 1, iteration 1, cases pt_0, pt_1.*body"):
        trainer.run()
    assert_same_weights(weights(network), before, rtol=0, atol=0)


@pytest.mark.parametrize("weighting", ["uncertainty", "imtl_l"])
def test_what_a_weighting_learns_of_an_unobserved_task_stays_with_its_moments(weighting):
    items = [make_item(index) for index in range(6)]
    for item in items[2:]:
        item["dose_present"] = torch.tensor(False)
    trainer = make_trainer(SmallNetwork(), DataLoader(items, batch_size=2), weighting, every=4)
    seen = []

    @trainer.on(Events.ITERATION_COMPLETED)
    def keep(engine):
        learned = trainer.loss_function.weighting.learned()
        seen.append(copy.deepcopy({name: (value, trainer.optimizer.state[value]) for name, value in learned.items()}))

    trainer.run()
    for later in seen[1:]:
        torch.testing.assert_close(later["dose"], seen[0]["dose"], rtol=0, atol=0)
        assert later["oar"][0] != seen[0]["oar"][0]


def test_an_optimizer_that_cannot_skip_a_step_is_refused():
    network = SmallNetwork()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    with pytest.raises(ConfigError, match=r"finite_check_every.*fused: true"):
        MultiTaskTrainer("cpu", 1, make_loader(2), network, optimizer, make_loss(TASKS), finite_check_every=5)
