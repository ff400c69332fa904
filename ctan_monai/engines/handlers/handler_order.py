"""Attach handlers after all others of an epoch's end."""

from __future__ import annotations

from collections.abc import Callable

from ignite.engine import Engine, Events


def attach_after_others(engine: Engine, handler: Callable[[Engine], None], registered_at: Events) -> None:
    """Run a handler at each epoch's end, after every handler attached until ``registered_at``.

    ignite calls handlers in the order in which they were added, so a handler that is added when the run starts
    comes after validation, schedules and weighting, wherever it stands in a config.

    Args:
        engine: the trainer.
        handler: a bound method that takes the engine.
        registered_at: STARTED, or EPOCH_STARTED for a handler that must come even later.
    """

    def register(started: Engine) -> None:
        if not started.has_event_handler(handler, Events.EPOCH_COMPLETED):
            started.add_event_handler(Events.EPOCH_COMPLETED, handler)

    engine.add_event_handler(registered_at, register)
