"""Processes that train together notice when one of them is gone."""

import time

import pytest
import torch.distributed as dist
from ignite.engine import Engine, Events

from ctan_monai.engines.handlers.peer_watch_handler import EXIT_PEER_LOST, PeerWatch


@pytest.fixture
def store(monkeypatch):
    """A store as two processes share it, of which this one is the first."""
    made = dist.HashStore()
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "get_world_size", lambda: 2)
    monkeypatch.setattr(dist, "get_rank", lambda: 0)
    monkeypatch.setattr(dist.distributed_c10d, "_get_default_store", lambda: made)
    return made


def run(watch, step, steps=1):
    """Run an engine that does something in each of its steps."""
    engine = Engine(lambda engine, batch: step(engine.state.iteration))
    watch.attach(engine)
    engine.run(range(steps))
    watch.close()


def wait_for(condition, seconds=5.0):
    until = time.monotonic() + seconds
    while not condition() and time.monotonic() < until:
        time.sleep(0.01)
    return condition()


def test_a_silent_process_ends_this_one(store, caplog):
    left = []
    watch = PeerWatch(silence_s=0.3, interval_s=0.02, leave=left.append)
    run(watch, lambda step: wait_for(lambda: left))
    assert left == [EXIT_PEER_LOST]
    assert "process 1 has not been heard of for 0.3 s" in caplog.text
    assert "--resume True" in caplog.text


def test_a_process_that_gives_signs_of_life_or_has_ended_does_not(store):
    left = []
    watch = PeerWatch(silence_s=0.3, interval_s=0.02, leave=left.append)

    def step(number):
        store.set("ctan_watch_1_1", str(number) if number < 20 else "end")
        time.sleep(0.05)

    run(watch, step, steps=40)
    assert left == []
    assert wait_for(lambda: store.get("ctan_watch_1_0") == b"end")


def test_a_store_that_is_gone_ends_this_process(store, monkeypatch, caplog):
    left = []

    class Gone:
        def set(self, key, value):
            raise RuntimeError("Connection reset by peer")

    monkeypatch.setattr(dist.distributed_c10d, "_get_default_store", Gone)
    run(PeerWatch(interval_s=0.02, leave=left.append), lambda step: wait_for(lambda: left))
    assert left == [EXIT_PEER_LOST]
    assert "no meeting point" in caplog.text


def test_a_store_that_does_not_answer_ends_this_process(store, monkeypatch, caplog):
    left = []

    class Silent:
        def set(self, key, value):
            wait_for(lambda: left)
            raise RuntimeError("gone")

    monkeypatch.setattr(dist.distributed_c10d, "_get_default_store", Silent)
    run(PeerWatch(silence_s=0.2, interval_s=0.02, leave=left.append), lambda step: wait_for(lambda: left))
    assert set(left) == {EXIT_PEER_LOST}  # told by both threads, as nothing has left here
    assert "has not answered for 0.2 s" in caplog.text


def test_a_training_of_one_process_has_nothing_to_watch():
    watch = PeerWatch()
    engine = Engine(lambda engine, batch: None)
    watch.attach(engine)
    engine.add_event_handler(Events.ITERATION_COMPLETED, lambda: None)
    engine.run([0])
    assert watch._ended is None
