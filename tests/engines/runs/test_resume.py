"""A run that was interrupted and resumed ends like one that was not, to the bit."""

import logging
import os

import pytest
import torch
from ignite.engine import Events
from monai.engines import SupervisedTrainer
from run_kit import TASKS, Run, TinyNetwork, TinySeparate, items, same, without_seconds

from ctan_monai.engines.handlers.checkpoint_handler import Checkpoint
from ctan_monai.engines.handlers.seeding_handler import ReseedEachEpoch
from ctan_monai.engines.runs.resume import ContinueAt, Progress, newest_checkpoint
from ctan_monai.engines.runs.torch_file import load_checked, save_atomic
from ctan_monai.errors import CheckpointError
from ctan_monai.networks import create_network

STEPS = 3  # of an epoch


class Killed(Exception):  # noqa: N818
    """Stands for the end of the process."""


class KillAt:
    """Trainer's handler: end the run at an event, the first of the handlers to see it."""

    def __init__(self, event):
        self.event = event

    def attach(self, engine):
        engine.add_event_handler(self.event, self)

    def __call__(self, engine):
        raise Killed


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Folder of a run of four epochs that nothing interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    Run(folder).go()
    return folder


def assert_same_run(folder, reference):
    assert same(load_checked(folder / "model.pt"), load_checked(reference / "model.pt")) is None
    found, expected = (without_seconds(load_checked(path / "last.pt")) for path in (folder, reference))
    assert expected["epoch"] == 4
    assert same(found, expected) is None


def kill(folder, event, **options):
    with pytest.raises(Killed):
        Run(folder, train_handlers=[KillAt(event)], **options).go()


MOMENTS = {
    "the first step": (Events.ITERATION_COMPLETED(once=1), 0),
    "the middle of the second epoch": (Events.ITERATION_COMPLETED(once=STEPS + 2), 1),
    "the end of an epoch, before validation": (Events.EPOCH_COMPLETED(once=3), 2),
    "the start of an epoch": (Events.EPOCH_STARTED(once=4), 3),
    "the last step": (Events.ITERATION_COMPLETED(once=4 * STEPS), 3),
}


@pytest.mark.promise(1, "interrupted at chosen moments of a step and an epoch, a run ends equal to the bit")
@pytest.mark.parametrize(("event", "kept"), MOMENTS.values(), ids=MOMENTS)
def test_a_run_that_was_interrupted_ends_like_one_that_was_not(tmp_path, whole, event, kept):
    kill(tmp_path, event)
    assert (load_checked(tmp_path / "last.pt")["epoch"] if kept else newest_checkpoint(tmp_path) or 0) == kept
    resumed = Run(tmp_path, resume=True).go()
    assert resumed.trainer.state.iteration == 4 * STEPS
    assert_same_run(tmp_path, whole)


def test_a_run_that_was_interrupted_twice_ends_like_one_that_was_not(tmp_path, whole):
    kill(tmp_path, Events.ITERATION_COMPLETED(once=4))
    kill(tmp_path, Events.ITERATION_COMPLETED(once=9), resume=True)
    Run(tmp_path, resume=True).go()
    assert_same_run(tmp_path, whole)


@pytest.mark.promise(1, "single-task networks trained together resume to the bit too")
def test_independent_networks_resume_to_the_bit_too(tmp_path):
    Run(tmp_path / "whole", network=TinySeparate).go()
    kill(tmp_path / "part", Events.ITERATION_COMPLETED(once=8), network=TinySeparate)
    Run(tmp_path / "part", network=TinySeparate, resume=True).go()
    assert_same_run(tmp_path / "part", tmp_path / "whole")


@pytest.mark.promise(1, "filter groups and the temperature of their samples resume to the bit")
def test_filter_groups_and_their_temperature_resume_to_the_bit(tmp_path):
    own = {"layer_scale": 0.1, "repeats": 1, "speed": 50.0, "rate": 0.1}

    def sfg():
        return create_network("sfg", TASKS, network_options={"sfg": own})

    start, run = sfg(), Run(tmp_path / "whole", network=sfg).go()
    kill(tmp_path / "part", Events.ITERATION_COMPLETED(once=8), network=sfg)
    Run(tmp_path / "part", network=sfg, resume=True).go()
    assert_same_run(tmp_path / "part", tmp_path / "whole")
    assert run.network.trunk.iteration == 4 * STEPS
    moved = run.network.groupings()["conv_1"] - start.groupings()["conv_1"]
    assert moved.abs().max() > 0.1


@pytest.mark.promise(8, "0 or 2 loader workers give the same run, also resumed")
def test_two_loader_workers_give_the_same_run_as_none(tmp_path, whole):
    kill(tmp_path, Events.ITERATION_COMPLETED(once=8), workers=2)
    Run(tmp_path, resume=True, workers=2).go()
    assert_same_run(tmp_path, whole)


def test_more_epochs_continue_a_complete_run_as_if_they_had_been_asked_for_at_once(tmp_path):
    Run(tmp_path / "whole", epochs=4, schedule="step").go()
    Run(tmp_path / "part", epochs=2, schedule="step").go()
    Run(tmp_path / "part", epochs=4, schedule="step", resume=True).go()
    assert_same_run(tmp_path / "part", tmp_path / "whole")


@pytest.mark.parametrize(("first", "second"), [(None, True), (True, None)])
def test_a_run_goes_on_with_another_implementation_of_the_optimizer(tmp_path, first, second):
    """As a bundle's run of a CPU does on a GPU, where its optimizer is fused and skips steps on the device."""
    Run(tmp_path, epochs=1, fused=first, every=3 if first else None).go()
    run = Run(tmp_path, epochs=2, resume=True, fused=second, every=3 if second else None).go()
    assert run.trainer.state.epoch == 2
    assert [group["fused"] for group in run.optimizer.param_groups] == [second]
    assert load_checked(tmp_path / "last.pt")["states"]["optimizer"]["param_groups"][0]["fused"] == second


def test_the_state_of_an_optimizer_with_more_groups_is_refused(tmp_path):
    Run(tmp_path, epochs=1).go()
    saved = load_checked(tmp_path / "last.pt")
    saved["states"]["optimizer"]["param_groups"] *= 2
    save_atomic(saved, tmp_path / "last.pt")
    with pytest.raises(CheckpointError, match=r"the state of 'optimizer' does not fit .*parameter group"):
        Run(tmp_path, epochs=2, resume=True)


def test_a_schedule_that_knows_its_end_is_stretched(tmp_path):
    Run(tmp_path, epochs=2).go()
    longer = Run(tmp_path, epochs=4, resume=True)
    assert longer.scheduler.total_steps == 5
    longer.go()
    assert load_checked(tmp_path / "last.pt")["epoch"] == 4


@pytest.mark.promise(8, "the comparison can fail: without reseeding at each epoch a resumed run differs")
def test_without_reseeding_a_resumed_run_is_another_one(tmp_path, monkeypatch, whole):
    """The known limit, and the proof that the tests above can fail."""
    monkeypatch.setattr(ReseedEachEpoch, "__call__", lambda self, engine: None)
    Run(tmp_path / "whole").go()
    kill(tmp_path / "part", Events.ITERATION_COMPLETED(once=8))
    torch.manual_seed(99)
    Run(tmp_path / "part", resume=True).go()
    networks = [load_checked(tmp_path / name / "last.pt")["network"] for name in ("whole", "part")]
    assert same(*networks) is not None


def test_a_complete_run_says_so_and_trains_nothing(tmp_path, caplog):
    Run(tmp_path, epochs=2).go()
    before = {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path)}
    for epochs in (2, 1):
        again = Run(tmp_path, epochs=epochs, resume=True).go()
        assert again.trainer.state.output is None
        assert "The run is complete after epoch 2: nothing to train. A higher --epochs continues it." in caplog.text
        caplog.clear()
    assert {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path)} == before


def test_a_run_that_stopped_early_says_so_and_trains_nothing(tmp_path, caplog):
    stopped = Run(tmp_path, epochs=9, patience=1).go()
    end = stopped.trainer.state.epoch
    assert end < 9
    again = Run(tmp_path, epochs=9, patience=1, resume=True).go()
    assert again.trainer.state.output is None
    assert f"The run stopped early after epoch {end}: nothing to train." in caplog.text


@pytest.mark.parametrize(("done", "steps"), [(2, 6), (4, 0), (5, 0)])
def test_monais_own_trainer_continues_too_and_does_not_begin_again_when_it_is_done(done, steps):
    network = torch.nn.Linear(1, 1)
    batches = [(torch.ones(1, 1), torch.ones(1, 1))] * 3
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    trainer = SupervisedTrainer("cpu", 4, batches, network, optimizer, torch.nn.MSELoss(), decollate=False)
    seen = []
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda engine: seen.append(engine.state.epoch))
    ContinueAt(Progress(done, 4, False, {})).attach(trainer)
    trainer.run()
    assert len(seen) == steps
    assert set(seen) == set(range(done + 1, 5))


@pytest.mark.parametrize("resume", [True, "true", "True"])
def test_resuming_nothing_starts_afresh(tmp_path, whole, resume):
    Run(tmp_path, resume=resume).go()
    assert_same_run(tmp_path, whole)


@pytest.mark.parametrize("resume", [False, "false"])
def test_without_resume_nothing_is_continued(tmp_path, resume):
    Run(tmp_path, epochs=2).go()
    assert Run(tmp_path, resume=resume).trainer.state.epoch == 0


def truncate(path):
    path.write_bytes(path.read_bytes()[:-1000])


@pytest.mark.parametrize("damage", [truncate, os.remove], ids=["truncated", "missing"])
def test_a_damaged_checkpoint_falls_back_to_the_one_before_and_loses_nothing_in_the_end(tmp_path, whole, damage):
    kill(tmp_path, Events.ITERATION_COMPLETED(once=8))
    damage(tmp_path / "last.pt")
    resumed = Run(tmp_path, resume=True)
    assert resumed.trainer.state.epoch == 1
    assert load_checked(tmp_path / "last.pt")["epoch"] == load_checked(tmp_path / "last.prev.pt")["epoch"] == 1
    resumed.go()
    assert_same_run(tmp_path, whole)


def test_falling_back_is_said(tmp_path, caplog):
    Run(tmp_path, epochs=2).go()
    truncate(tmp_path / "last.pt")
    Run(tmp_path, epochs=2, resume=True)
    assert "last.pt: it has no checksum" in caplog.text
    assert "Falling back to last.prev.pt, of an earlier epoch." in caplog.text
    assert [record.levelno for record in caplog.records if "Falling" in record.message] == [logging.WARNING]


@pytest.mark.promise(2, "when the last two checkpoints are damaged, nothing is trained")
def test_when_both_checkpoints_are_damaged_nothing_is_trained(tmp_path):
    Run(tmp_path, epochs=2).go()
    truncate(tmp_path / "last.pt")
    truncate(tmp_path / "last.prev.pt")
    with pytest.raises(CheckpointError, match=r"last\.prev\.pt: .*without --resume True"):
        Run(tmp_path, resume=True)


@pytest.mark.promise(2, "resuming with another network or other tasks is refused and the difference shown")
def test_another_network_is_refused_with_the_difference(tmp_path):
    Run(tmp_path, epochs=1).go()
    with pytest.raises(CheckpointError, match=r"another run: run\.encoder: saved 'width4', now 'width5'"):
        Run(tmp_path, network=lambda: TinyNetwork(width=5), resume=True)
    with pytest.raises(CheckpointError, match=r"run\.method: saved 'tiny', now 'tiny_stl'"):
        Run(tmp_path, network=TinySeparate, resume=True)
    with pytest.raises(CheckpointError, match=r"run\.tasks: saved .*Bladder.*, now "):
        Run(tmp_path, network=lambda: TinyNetwork(tasks=TASKS[::-1]), resume=True)


@pytest.mark.promise(2, "resuming with other cases or slices is refused, without naming a case")
def test_other_data_are_refused_without_naming_a_case(tmp_path):
    run = Run(tmp_path, epochs=1).go()
    with pytest.raises(CheckpointError, match=r"data\.items: saved 6, now 5") as caught:
        Checkpoint(tmp_path, run.trainer, resume=True, data=items(5))
    assert "pt_" not in str(caught.value)


def test_a_part_that_was_not_there_before_is_refused(tmp_path):
    run = Run(tmp_path, epochs=1).go()
    with pytest.raises(CheckpointError, match=r"saved \['best', .*'scheduler'\], now \['loss', 'optim"):
        Checkpoint(tmp_path, run.trainer, {}, resume=True, data=run.data)


def test_a_state_that_does_not_fit_names_its_part(tmp_path):
    class Weights(torch.nn.Module):
        latest, observed = {}, {}

        def __init__(self, size):
            super().__init__()
            self.values = torch.nn.Parameter(torch.zeros(size))

    run = Run(tmp_path)
    run.trainer.loss_function = Weights(2)
    Checkpoint(tmp_path, run.trainer).save()
    run.trainer.loss_function = Weights(3)
    with pytest.raises(CheckpointError, match=r"(?s)the state of 'loss' does not fit .*size mismatch"):
        Checkpoint(tmp_path, run.trainer, resume=True)


def test_the_gradient_scaler_is_restored(tmp_path):
    first = Run(tmp_path, epochs=1)
    first.trainer.scaler = torch.amp.GradScaler("cpu", init_scale=8.0, growth_interval=2)
    first.go()
    second = Run(tmp_path, epochs=2, resume=True)
    second.trainer.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**16)
    scales = []
    second.trainer.add_event_handler(Events.EPOCH_STARTED, lambda engine: scales.append(engine.scaler.get_scale()))
    second.go()
    assert scales == [16.0]  # three steps, and it doubles after two


def test_validation_every_second_epoch_resumes_too(tmp_path):
    Run(tmp_path / "whole", validate_every=2).go()
    kill(tmp_path / "part", Events.ITERATION_COMPLETED(once=8), validate_every=2)
    Run(tmp_path / "part", validate_every=2, resume=True).go()
    assert_same_run(tmp_path / "part", tmp_path / "whole")
    epochs = load_checked(tmp_path / "part" / "last.pt")["states"]["history"]["epochs"]
    assert ["validation" in epoch for epoch in epochs] == [False, True, False, True]


def test_another_version_is_told_and_a_checkpoint_of_an_unknown_form_refused(tmp_path, caplog):
    Run(tmp_path, epochs=1).go()
    saved = load_checked(tmp_path / "last.pt")
    saved["versions"]["torch"] = "1.0"
    save_atomic(saved, tmp_path / "last.pt")
    Run(tmp_path, epochs=2, resume=True)
    assert f"torch was 1.0, now {torch.__version__}: the last digits may differ." in caplog.text
    del saved["states"]
    save_atomic(saved, tmp_path / "last.pt")
    with pytest.raises(CheckpointError, match=r"last\.pt: it has no 'states'.*the version that wrote it"):
        Run(tmp_path, epochs=2, resume=True)


def test_a_second_run_of_the_same_trainer_is_not_set_back(tmp_path):
    Run(tmp_path, epochs=1).go()
    resumed = Run(tmp_path, epochs=2, resume=True).go()
    resumed.trainer.state.max_epochs = 3
    resumed.go()
    assert [epoch["epoch"] for epoch in resumed.history.epochs] == [1, 2, 3]
