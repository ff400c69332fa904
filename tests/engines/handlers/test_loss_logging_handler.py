import logging
import math
import time

import pytest
import torch
from engine_kit import TASKS, SmallNetwork, make_item, make_loader, make_loss, make_trainer
from ignite.engine import Events
from monai.data import DataLoader
from monai.handlers import LrScheduleHandler
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ctan_monai.engines import LossLogger, WeightingHandler
from ctan_monai.engines.handlers.loss_logging_handler import RunningMeans


def read(folder):
    """Return what TensorBoard shows: tag -> [(step, value)]."""
    events = EventAccumulator(str(folder))
    events.Reload()
    return {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def train(tmp_path, loader=None, epochs=2, weighting="equal", before=(), every=2, network=None):
    """Train with a LossLogger after the handlers ``before``; return the losses of all steps."""
    loss, steps = make_loss(weighting=weighting), []
    logger = LossLogger(loss, tmp_path, every=every)
    trainer = make_trainer(
        network or SmallNetwork(), loader or make_loader(6), epochs, loss, train_handlers=[*before, logger]
    )
    trainer.add_event_handler(
        Events.ITERATION_COMPLETED,
        lambda: steps.append(
            {"loss": trainer.state.output["loss"].item(), **{f"loss_{k}": v.item() for k, v in loss.latest.items()}}
        ),
    )
    for handler in before:
        if isinstance(handler, WeightingHandler):
            handler.loss = loss
        if isinstance(handler, LrScheduleHandler):
            handler.lr_scheduler = torch.optim.lr_scheduler.StepLR(trainer.optimizer, 1, gamma=0.1)
    trainer.run()
    return steps


def test_tensorboard_has_the_mean_losses_of_every_epoch(tmp_path):
    steps = train(tmp_path)
    shown = read(tmp_path / "tensorboard" / "train")
    for name in ("loss", "loss_oar", "loss_dose", "loss_grade"):
        means = [sum(step[name] for step in steps[3 * e : 3 * e + 3]) / 3 for e in range(2)]
        assert shown[f"epoch/{name}"] == [(1, pytest.approx(means[0])), (2, pytest.approx(means[1]))]


def test_tensorboard_has_the_means_of_every_n_steps_within_an_epoch(tmp_path):
    steps = train(tmp_path, make_loader(12), epochs=1, every=2)
    shown = read(tmp_path / "tensorboard" / "train")
    pairs = [(steps[i]["loss_dose"] + steps[i + 1]["loss_dose"]) / 2 for i in (0, 2, 4)]
    assert [step for step, _ in shown["step/loss_dose"]] == [2, 4, 6]
    assert [mean for _, mean in shown["step/loss_dose"]] == pytest.approx(pairs)
    assert [step for step, _ in shown["step/learning_rate"]] == [2, 4, 6]


class Grouped(SmallNetwork):
    """A network with one layer of two kernels, whose groupings are known."""

    def group_names(self):
        return ["dose", "oar", "shared"]

    def groupings(self):
        return {"conv_0": torch.tensor([[0.5, 0.25, 0.25], [1.0, 0.0, 0.0]])}


def test_tensorboard_has_the_groupings_of_every_epoch(tmp_path):
    train(tmp_path, network=Grouped())
    shown = read(tmp_path / "tensorboard" / "train")
    expected = {"dose": 0.75, "oar": 0.125, "shared": 0.125, "entropy": (1.5 * math.log(2)) / 2}
    for name, value in expected.items():
        assert shown[f"grouping/conv_0/{name}"] == [(1, pytest.approx(value)), (2, pytest.approx(value))]


def test_steps_can_be_left_out(tmp_path):
    train(tmp_path, every=0)
    assert not any(tag.startswith("step/") for tag in read(tmp_path / "tensorboard" / "train"))


def test_learning_rate_and_weights_are_those_the_epoch_was_trained_with_although_others_change_them_first(tmp_path):
    schedule = LrScheduleHandler(None, print_lr=False)
    train(tmp_path, epochs=3, weighting="dwa", before=[schedule, WeightingHandler(None)])
    shown = read(tmp_path / "tensorboard" / "train")
    assert [value for _, value in shown["epoch/learning_rate"]] == pytest.approx([0.1, 0.01, 0.001])
    assert [value for _, value in shown["epoch/weight_dose"]][:2] == [1.0, 1.0]
    assert shown["epoch/weight_dose"][2][1] != 1.0


def test_a_task_is_averaged_over_the_steps_in_which_it_was_known(tmp_path):
    items = [make_item(index) for index in range(4)]
    items[0]["dose_present"] = items[1]["dose_present"] = torch.tensor(False)
    steps = train(tmp_path, DataLoader(items, batch_size=2), epochs=1)
    assert steps[0]["loss_dose"] == 0
    assert read(tmp_path / "tensorboard" / "train")["epoch/loss_dose"] == [(1, pytest.approx(steps[1]["loss_dose"]))]


def test_the_console_gets_one_line_per_epoch(tmp_path, caplog):
    with caplog.at_level(logging.INFO, logger="ctan_monai.engines.handlers.loss_logging_handler"):
        steps = train(None, epochs=2)
    lines = [
        record.message for record in caplog.records if record.name == "ctan_monai.engines.handlers.loss_logging_handler"
    ]
    assert len(lines) == 2
    mean = sum(step["loss"] for step in steps[:3]) / 3
    assert lines[0].startswith(f"epoch 1/2: loss {mean:.4g} | oar ")
    assert "(weight 1) | learning rate 1.00e-01 |" in lines[0]
    assert not list(tmp_path.iterdir())


def test_a_resumed_run_takes_the_place_of_the_steps_that_it_repeats(tmp_path):
    train(tmp_path, epochs=2)
    time.sleep(1.1)  # event files are read in the order of their names, which begin with the second
    loss = make_loss()
    logger = LossLogger(loss, tmp_path, every=2)
    trainer = make_trainer(SmallNetwork(), make_loader(6), 3, loss, train_handlers=[logger])

    @trainer.on(Events.STARTED)
    def continue_after_epoch_1():
        trainer.state.epoch, trainer.state.iteration = 1, 3

    trainer.run()
    shown = read(tmp_path / "tensorboard" / "train")
    assert [step for step, _ in shown["epoch/loss"]][-2:] == [2, 3]
    assert [step for step, _ in shown["step/loss"]] == [2, 4, 6, 8]


def test_running_means_begin_again_when_taken_and_are_empty_at_first():
    means = RunningMeans()
    assert means.take() == {}
    means.add({"a": torch.tensor(1.0), "b": torch.tensor(5.0)})
    means.add({"a": torch.tensor(2.0, dtype=torch.bfloat16)})
    assert means.take() == {"a": 1.5, "b": 5.0}
    assert means.take() == {}


def test_the_loss_is_not_fetched_from_the_device_in_each_step(monkeypatch):
    fetched = []
    means = RunningMeans()
    original = torch.Tensor.tolist
    monkeypatch.setattr(torch.Tensor, "tolist", lambda self: fetched.append(1) or original(self))
    monkeypatch.setattr(torch.Tensor, "item", lambda self: pytest.fail("item() waits for the device"))
    for _ in range(5):
        means.add({task.name: torch.tensor(1.0) for task in TASKS})
    assert not fetched
    means.take()
    assert len(fetched) == 1
