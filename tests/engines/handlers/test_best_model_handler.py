"""Which epoch's weights model.pt holds."""

import math

import pytest
import torch
from ignite.engine import Engine, Events
from run_kit import TinyNetwork, TinySeparate, same

from ctan_monai.engines.handlers.best_model_handler import BestModel
from ctan_monai.engines.runs.torch_file import load_checked
from ctan_monai.errors import ConfigError

NAN = math.nan


def validate(best, epoch, **scores):
    """Give every parameter and buffer the epoch's number, then let the handler see the epoch's scores."""
    with torch.no_grad():
        for tensor in best._network.state_dict().values():
            tensor.fill_(epoch)
    engine = Engine(lambda engine, batch: None)
    best.attach(engine)
    engine.state.epoch, engine.state.metrics = epoch, scores
    engine.fire_event(Events.COMPLETED)


def epochs_in(path):
    """Return the epochs that the entries of model.pt come from, by the first two parts of their name."""
    return {key: int(tensor.flatten()[0]) for key, tensor in load_checked(path).items()}


@pytest.mark.parametrize(
    ("scores", "kept"),
    [
        ([0.2, 0.7, 0.5], 2),
        ([0.7, 0.7, 0.7], 1),
        ([-0.5, -0.2, -0.9], 2),
        ([NAN, NAN], 2),
        ([NAN, 0.1, NAN], 2),
        ([0.4, NAN, NAN], 1),
        ([NAN, -3.0, -4.0], 2),
    ],
    ids=["highest", "ties keep the first", "negative", "never known: newest", "first known", "nan is no gain", "known"],
)
def test_the_whole_network_is_kept_from_its_best_epoch(tmp_path, scores, kept):
    best = BestModel(TinyNetwork(), tmp_path)
    for epoch, score in enumerate(scores, start=1):
        validate(best, epoch, selection=score)
    assert set(epochs_in(tmp_path / "model.pt").values()) == {kept}
    assert best.summary()["all"]["epoch"] == kept
    assert same(best.summary()["all"]["score"], scores[kept - 1]) is None


def test_independent_tasks_are_joined_each_from_its_own_best_epoch(tmp_path):
    best = BestModel(TinySeparate(), tmp_path)
    validate(best, 1, selection=0.9, selection_oar=0.8, selection_dose=0.1)
    validate(best, 2, selection=0.1, selection_oar=0.1, selection_dose=0.2)
    validate(best, 3, selection=0.5, selection_oar=0.7, selection_dose=0.3)
    found = epochs_in(tmp_path / "model.pt")
    assert {key.split(".")[1]: epoch for key, epoch in found.items()} == {"oar": 1, "dose": 3}
    assert len(set(found.items())) == len(TinySeparate().state_dict())
    assert found["branches.oar.1.running_mean"] == found["branches.oar.1.num_batches_tracked"] == 1
    assert best.summary() == {"oar": {"epoch": 1, "score": 0.8}, "dose": {"epoch": 3, "score": 0.3}}


def test_a_task_that_stopped_early_keeps_what_it_had(tmp_path):
    class Stopped:
        def has_stopped(self, task):
            return task == "oar"

    best = BestModel(TinySeparate(), tmp_path)
    validate(best, 1, selection_oar=0.1, selection_dose=0.1)
    best._stopped = Stopped()
    validate(best, 2, selection_oar=0.2, selection_dose=0.2)
    assert best.summary()["oar"]["epoch"] == 1
    assert best.summary()["dose"]["epoch"] == 2


def test_a_parameter_that_belongs_to_no_task_of_an_independent_network_is_refused(tmp_path):
    network = TinySeparate()
    network.register_parameter("temperature", torch.nn.Parameter(torch.zeros(1)))
    with pytest.raises(ConfigError, match="temperature belongs to no task"):
        validate(BestModel(network, tmp_path), 1, selection_oar=0.1, selection_dose=0.1)


def test_model_pt_is_a_plain_state_dict_of_the_unwrapped_network(tmp_path):
    network = TinyNetwork()
    best = BestModel(torch.nn.DataParallel(network), tmp_path)
    validate(best, 4, selection=0.5)
    fresh = TinyNetwork()
    fresh.load_state_dict(torch.load(tmp_path / "model.pt", weights_only=True), strict=True)
    assert same(dict(fresh.state_dict()), dict(network.state_dict())) is None


def test_training_on_does_not_change_what_was_kept(tmp_path):
    best = BestModel(TinyNetwork(), tmp_path)
    validate(best, 1, selection=0.9)
    validate(best, 2, selection=0.1)
    assert {int(tensor.flatten()[0]) for tensor in best.state_dict()["weights"].values()} == {1}


def test_a_resumed_run_takes_back_a_model_of_an_epoch_that_was_lost(tmp_path):
    best = BestModel(TinySeparate(), tmp_path)
    validate(best, 1, selection_oar=0.5, selection_dose=0.5)
    saved = best.state_dict()
    validate(best, 2, selection_oar=0.6, selection_dose=0.1)  # the process is killed before last.pt of this epoch
    assert set(epochs_in(tmp_path / "model.pt").values()) == {1, 2}
    resumed = BestModel(TinySeparate(), tmp_path)
    resumed.load_state_dict(saved)
    assert set(epochs_in(tmp_path / "model.pt").values()) == {1}
    assert resumed.summary() == {"oar": {"epoch": 1, "score": 0.5}, "dose": {"epoch": 1, "score": 0.5}}
