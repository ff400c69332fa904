"""Progress of a comparison."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from ctan_monai.apps.comparing.plan import STEPS, Run
from ctan_monai.apps.comparing.runs import is_done, log_of

if TYPE_CHECKING:
    from rich.table import Table


def state_of(run: Run) -> str:
    """Describe the progress of a run in a word or two."""
    if is_done(run, STEPS[1]):
        return "done"
    if is_done(run, STEPS[0]):
        return "evaluating" if log_of(run, STEPS[1]).is_file() else "trained"
    if not log_of(run, STEPS[0]).is_file():
        return "waiting"
    try:
        epochs = len(json.loads((run.output_dir / "metrics.json").read_text(encoding="utf-8"))["epochs"])
        settings = json.loads((run.output_dir / "settings.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, KeyError):
        return "starting"
    return f"epoch {epochs}/{settings.get('epochs', '?')}"


class Progress:
    """Live table of all runs on a terminal, updated once a second; elsewhere a line for each change.

    Args:
        runs: of the comparison.
        out: its folder.
    """

    def __init__(self, runs: Sequence[Run], out: Path) -> None:
        from rich.console import Console
        from rich.live import Live

        self._runs, self._out = list(runs), out
        self._console = Console(stderr=True)
        self._live = Live(console=self._console, auto_refresh=False) if self._console.is_terminal else None
        self._states: dict[Path, str] = {}
        self._next_s = 0.0

    def __enter__(self) -> Progress:
        """Start the display."""
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the display."""
        self._next_s = 0.0
        self()
        if self._live is not None:
            self._live.stop()

    def __call__(self) -> None:
        """Update from the runs' files, at most once a second."""
        if time.monotonic() < self._next_s:
            return
        self._next_s = time.monotonic() + 1.0
        states = {run.folder: state_of(run) for run in self._runs}
        if self._live is not None:
            self._live.update(self._table(states), refresh=True)
        else:
            for run in self._runs:
                state = states[run.folder]
                if state != self._states.get(run.folder):
                    self._console.print(f"{run.name}: {state}", highlight=False, markup=False)
        self._states = states

    def _table(self, states: dict[Path, str]) -> Table:
        from rich.table import Table

        columns = list(dict.fromkeys(run.column for run in self._runs))
        table = Table("row", *columns, title=f"{self._out}", title_justify="left")
        for name in dict.fromkeys(run.row.name for run in self._runs):
            mine = {run.column: states[run.folder] for run in self._runs if run.row.name == name}
            table.add_row(name, *(mine.get(column, "") for column in columns))
        return table
