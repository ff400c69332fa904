"""SIGTERM and Ctrl-C end a training between two steps, with the right code."""

import logging
import os
import signal
import threading
import time
from collections import Counter

import pytest
from ignite.engine import Events
from run_kit import Run

from ctan_monai.engines.handlers.signal_handler import StopOnSignal
from ctan_monai.engines.runs.torch_file import load_checked


class Send:
    """Trainer's handler: send a real signal to this process at an event."""

    def __init__(self, number, event):
        self.number, self.event = number, event

    def attach(self, engine):
        engine.add_event_handler(self.event, lambda: os.kill(os.getpid(), self.number))


def run_until(tmp_path, number, event, **options):
    """Train; return the exit code and how often things were completed."""
    run = Run(tmp_path, train_handlers=[StopOnSignal(), Send(number, event)], **options)
    done = Counter()
    for completed in (Events.ITERATION_COMPLETED, Events.EPOCH_COMPLETED, Events.COMPLETED):
        run.trainer.add_event_handler(completed, lambda engine, name=completed.name: done.update([name]))
    with pytest.raises(SystemExit) as left:
        run.go()
    return left.value.code, done


@pytest.mark.promise(1, "SIGTERM and Ctrl-C finish the step, keep the last epoch and leave with 143 and 130")
@pytest.mark.parametrize("every", [0, 60], ids=["each epoch", "by interval"])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_the_step_is_finished_and_the_last_epoch_kept(tmp_path, number, code, every, caplog):
    before = signal.getsignal(number)
    left, done = run_until(tmp_path, number, Events.ITERATION_STARTED(once=5), checkpoint_every=every)
    assert left == code
    assert done["EPOCH_COMPLETED"] == load_checked(tmp_path / "last.pt")["epoch"] == 1
    assert done["COMPLETED"] == 0
    assert f"Ended by {number.name}; --resume True continues" in caplog.text
    assert signal.getsignal(number) is before


def test_an_epoch_that_ended_is_saved_before_leaving(tmp_path):
    left, done = run_until(tmp_path, signal.SIGTERM, Events.EPOCH_COMPLETED(once=2))
    assert left == 143
    assert done["ITERATION_COMPLETED"] == 6
    assert load_checked(tmp_path / "last.pt")["epoch"] == 2


def test_after_the_last_epoch_the_code_tells_that_nothing_follows(tmp_path):
    left, _ = run_until(tmp_path, signal.SIGTERM, Events.EPOCH_COMPLETED(once=4))
    assert left == 143
    assert load_checked(tmp_path / "last.pt")["epoch"] == 4


@pytest.mark.promise(1, "a signal ends a validation too")
def test_validation_is_left_too(tmp_path):
    run = Run(tmp_path)
    stop = StopOnSignal(run.evaluator)
    stop.attach(run.trainer)
    cases = []
    run.evaluator.add_event_handler(Events.ITERATION_STARTED(once=1), lambda: os.kill(os.getpid(), signal.SIGTERM))
    run.evaluator.add_event_handler(Events.ITERATION_STARTED, lambda: cases.append(1))
    with pytest.raises(SystemExit) as left:
        run.go()
    assert left.value.code == 143
    assert len(cases) == 1
    assert not (tmp_path / "last.pt").exists()


@pytest.mark.promise(1, "a run that a signal ended resumes to the bit")
def test_a_stopped_run_resumes_to_the_bit(tmp_path):
    Run(tmp_path / "whole").go()
    run_until(tmp_path / "part", signal.SIGTERM, Events.ITERATION_STARTED(once=5))
    Run(tmp_path / "part", resume=True).go()
    a, b = (load_checked(tmp_path / name / "last.pt")["network"] for name in ("whole", "part"))
    assert all(a[key].equal(b[key]) for key in a)


def test_a_second_signal_ends_at_once(tmp_path):
    def twice():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    run = Run(tmp_path, train_handlers=[StopOnSignal()])
    run.trainer.add_event_handler(Events.ITERATION_STARTED(once=1), twice)
    steps = []
    run.trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda: steps.append(1))
    with pytest.raises(SystemExit) as left:
        run.go()
    assert left.value.code == 130
    assert steps == []


def test_a_loader_that_the_signal_broke_first_does_not_hide_it(tmp_path):
    run = Run(tmp_path, train_handlers=[StopOnSignal()])

    @run.trainer.on(Events.GET_BATCH_STARTED(once=2))
    def break_loader():
        os.kill(os.getpid(), signal.SIGINT)
        raise RuntimeError("DataLoader worker (pid 3) exited unexpectedly")

    with pytest.raises(SystemExit) as left:
        run.go()
    assert left.value.code == 130


def test_other_errors_pass_unchanged(tmp_path):
    run = Run(tmp_path, train_handlers=[StopOnSignal()])

    @run.trainer.on(Events.ITERATION_COMPLETED(once=2))
    def fail():
        raise ZeroDivisionError

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(ZeroDivisionError):
        run.go()
    assert signal.getsignal(signal.SIGTERM) is before


def test_signals_belong_to_the_program_again_after_the_run(tmp_path):
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    Run(tmp_path, epochs=1, train_handlers=[StopOnSignal()]).go()
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before


def test_in_a_thread_signals_are_left_alone(tmp_path):
    logging.getLogger("ignite").setLevel(logging.ERROR)
    run = Run(tmp_path, epochs=1, train_handlers=[StopOnSignal()])
    thread = threading.Thread(target=run.go)
    thread.start()
    thread.join(30)
    assert load_checked(tmp_path / "last.pt")["epoch"] == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that are forked")
def test_a_forked_worker_dies_of_the_signal_instead_of_waiting_for_a_step():
    stop = StopOnSignal()
    stop._install(None)
    ready, tell = os.pipe()
    try:
        child = os.fork()
        if child == 0:
            os.write(tell, b"!")  # Python forgets signals that arrive while it is still forking
        while child == 0:
            time.sleep(0.01)
        os.read(ready, 1)
        os.kill(child, signal.SIGTERM)
        _, status = os.waitpid(child, 0)
    finally:
        stop.close()
    assert os.WTERMSIG(status) == signal.SIGTERM
