import logging
import re

import pytest
import torch.distributed as dist
from engine_kit import SmallNetwork, make_evaluator, make_loader, make_trainer
from ignite.engine import Events
from monai.handlers import ValidationHandler

from ctan_monai.engines import ProgressBar

LOGGER = "ctan_monai.engines.handlers.progress_handler"


def train(*handlers, epochs=2):
    make_trainer(SmallNetwork(), make_loader(6), epochs, train_handlers=handlers).run()


def test_in_a_terminal_a_bar_spans_the_whole_run_and_shows_epoch_and_loss(capsys):
    train(ProgressBar(terminal=True, interval_s=0.0))
    shown = capsys.readouterr().err
    assert re.search(r"training, epoch 2/2: 100%.*6/6.*loss=\d", shown)


def test_log_lines_do_not_break_the_bar(capsys):
    import sys

    console = logging.StreamHandler(sys.stderr)
    logging.getLogger().addHandler(console)

    class Talk:
        def attach(self, engine):
            engine.add_event_handler(Events.ITERATION_COMPLETED, lambda: logging.getLogger("talk").warning("hello"))

    try:
        train(ProgressBar(terminal=True), Talk())
    finally:
        logging.getLogger().removeHandler(console)
    lines = re.split(r"[\r\n]", capsys.readouterr().err)
    assert lines.count("hello") == 6


def test_without_a_terminal_there_is_no_bar_and_a_short_run_is_silent(capsys, caplog):
    with caplog.at_level(logging.INFO, logger=LOGGER):
        train(ProgressBar())
    assert capsys.readouterr().err == ""
    assert not [record for record in caplog.records if record.name == LOGGER]


def test_without_a_terminal_a_long_run_says_now_and_then_how_far_it_is(caplog):
    with caplog.at_level(logging.INFO, logger=LOGGER):
        train(ProgressBar(title="hps", log_interval_s=0.0))
    lines = [record.message for record in caplog.records if record.name == LOGGER]
    assert len(lines) == 6
    assert re.fullmatch(r"hps: epoch 2, iteration 4 of 6, loss \d\S*, about \d+ s left", lines[3])
    assert lines[-1].endswith("about 0 s left")


def test_a_resumed_run_counts_from_where_it_was(caplog):
    trainer = make_trainer(SmallNetwork(), make_loader(6), 3, train_handlers=[ProgressBar(log_interval_s=0.0)])

    @trainer.on(Events.STARTED)
    def continue_after_epoch_2():
        trainer.state.epoch, trainer.state.iteration = 2, 6

    with caplog.at_level(logging.INFO, logger=LOGGER):
        trainer.run()
    lines = [record.message for record in caplog.records if record.name == LOGGER]
    assert [line.split(", loss")[0] for line in lines] == [f"epoch 3, iteration {i} of 9" for i in (7, 8, 9)]


def test_every_validation_has_a_bar_of_its_own_that_goes_away(capsys):
    network = SmallNetwork()
    evaluator = make_evaluator(network, make_loader(2, batch_size=1), ProgressBar(terminal=True))
    make_trainer(network, make_loader(2), 2, train_handlers=[ValidationHandler(1, evaluator)]).run()
    shown = capsys.readouterr().err
    assert len(re.findall(r"validation: +0%[^\r]*0/2", shown)) == 2
    assert shown.endswith("\r")


def test_the_bar_is_closed_when_the_run_fails(capsys):
    class Break:
        def attach(self, engine):
            engine.add_event_handler(Events.ITERATION_COMPLETED(once=2), self)

        def __call__(self, engine):
            raise KeyError("broken")

    with pytest.raises(KeyError):
        train(ProgressBar(terminal=True), Break())
    assert capsys.readouterr().err.endswith("\n")  # closed: a prompt, or the traceback, begins on a line of its own


def test_other_processes_are_silent(monkeypatch, capsys):
    monkeypatch.setattr("ctan_monai.engines.handlers.progress_handler.rank", lambda: 1)
    train(ProgressBar(terminal=True))
    assert capsys.readouterr().err == ""
    assert not dist.is_initialized()
