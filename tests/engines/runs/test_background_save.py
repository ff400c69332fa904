"""When the thread saves, and what becomes of its errors."""

import logging
import threading
import time

import pytest

from ctan_monai.engines.runs.background_save import BackgroundSave
from ctan_monai.errors import CheckpointError

FULL = CheckpointError("last.pt", "the disk is full.", "Free space.")


@pytest.fixture
def saved():
    return []


def fail():
    raise FULL


def wait(background):
    """Wait for the thread, without looking at what became of it."""
    if background._running is not None:
        background._running.exception(10)


def test_the_first_offer_after_the_interval_is_saved_and_the_newest_at_the_end(saved):
    background = BackgroundSave(0.2)
    for name in ("too early", "replaced"):
        background.offer(lambda name=name: saved.append(name))
    time.sleep(0.25)
    background.offer(lambda: saved.append("due"))
    wait(background)
    for name in ("too early again", "at the end"):
        background.offer(lambda name=name: saved.append(name))
    assert saved == ["due"]
    background.close()
    background.close()
    assert saved == ["due", "at the end"]


def test_one_save_is_under_way_at_most_and_nothing_waits_for_it(saved):
    background, go_on = BackgroundSave(0.0), threading.Event()
    background.offer(lambda: (go_on.wait(10), saved.append(threading.current_thread() is threading.main_thread())))
    for name in ("replaced", "newest"):
        background.offer(lambda name=name: saved.append(name))
    assert saved == []
    go_on.set()
    background.close()
    assert saved == [False, "newest"]


def test_what_must_be_saved_at_once_is_saved_after_what_is_under_way(saved):
    background = BackgroundSave(0.0)
    background.offer(lambda: (time.sleep(0.1), saved.append("first")))
    background.offer(lambda: saved.append("last"), at_once=True)
    assert saved == ["first", "last"]


def test_an_error_is_raised_by_the_next_offer_which_is_not_lost(saved):
    background = BackgroundSave(0.0)
    background.offer(fail)
    wait(background)
    with pytest.raises(CheckpointError, match="the disk is full"):
        background.offer(lambda: saved.append("next"))
    background.close()
    assert saved == ["next"]


@pytest.mark.parametrize("thread", [False, True])
def test_an_error_at_the_end_is_raised_unless_another_ends_the_run(thread, caplog):
    with pytest.raises(CheckpointError, match="the disk is full"):
        end(thread)
    caplog.clear()
    with pytest.raises(SystemExit) as left:
        end(thread, SystemExit(143))
    assert left.value.code == 143
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert "last.pt: the disk is full. Remedy: Free space." in caplog.text


def end(thread, error=None):
    """Let a save fail, in the thread or in `close`, while nothing or an error ends the run."""
    background = BackgroundSave(0.0 if thread else 60.0)
    try:
        background.offer(fail)
        if error is not None:
            raise error
    finally:
        background.close()
