"""The handlers that every training has, against the same ones wired one by one."""

import signal

import pytest
from monai.handlers import LrScheduleHandler, ValidationHandler
from run_kit import Run, same

from ctan_monai.engines.handlers.default_handlers import default_handlers
from ctan_monai.engines.loop.trainer import MultiTaskTrainer


def standard(folder, epochs=3, min_delta=0.0, **options):
    """Train what `Run` trains, with the standard handlers."""
    run = Run(folder, epochs, **options)
    run.early_stopping.min_delta = min_delta
    common = default_handlers(
        title="test",
        seed=11,  # that of Run
        loss=run.loss,
        evaluator=run.evaluator,
        output_dir=folder,
        early_stopping=run.early_stopping,
    )
    schedule = LrScheduleHandler(run.scheduler, print_lr=False)
    handlers = [schedule, ValidationHandler(1, run.evaluator), *common, run.history]
    loader = run.trainer.data_loader
    run.trainer = MultiTaskTrainer("cpu", epochs, loader, run.network, run.optimizer, run.loss, train_handlers=handlers)
    return run.go()


def numbers(run):
    return [{**epoch, "seconds": 0} for epoch in run.history.epochs]


def test_they_train_the_same_network_as_handlers_that_are_wired_one_by_one(tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    by_hand, found = Run(tmp_path / "a", 3).go(), standard(tmp_path / "b")
    assert same(by_hand.network.state_dict(), found.network.state_dict()) is None
    assert same(numbers(by_hand), numbers(found)) is None
    assert (tmp_path / "b" / "tensorboard").is_dir()
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("patience", [1, 2])
def test_early_stopping_acts_after_the_validation_of_the_same_epoch(tmp_path, patience):
    run = standard(tmp_path / "a", epochs=12, min_delta=9.0, patience=patience)  # nothing improves by so much
    assert len(run.history.epochs) == 1 + patience
