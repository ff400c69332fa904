import io
import sys
import time

import pytest

from ctan_monai.files.progress_bar import progress_bar


class Stream(io.StringIO):
    """What the standard error is: a terminal or a file."""

    def __init__(self, terminal):
        super().__init__()
        self.terminal = terminal

    def isatty(self):
        return self.terminal


def updates(monkeypatch, terminal, shown=True):
    monkeypatch.setattr(sys, "stderr", Stream(terminal))
    items = []
    for item in progress_bar(iter(range(40)), "reading", "file", 40, shown):
        items.append(item)
        time.sleep(0.02)
    assert items == list(range(40))
    return [text for text in sys.stderr.getvalue().split("\r") if text.strip()]


def test_a_log_gets_the_beginning_and_the_end_and_a_terminal_what_is_between_too(monkeypatch):
    first, last = updates(monkeypatch, terminal=False)
    assert first.startswith("reading:   0%")
    assert last.startswith("reading: 100%")
    assert "40/40" in last
    assert len(updates(monkeypatch, terminal=True)) > 4


@pytest.mark.parametrize("terminal", [False, True])
def test_nothing_is_printed_where_none_is_wanted(monkeypatch, terminal):
    assert updates(monkeypatch, terminal, shown=False) == []
