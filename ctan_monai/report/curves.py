"""Learning curves of a run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from ctan_monai.report.canvas import COLORS, GRID, ON_WHITE, TEXT, panels_in_rows
from ctan_monai.report.run_files import SELECTION, TOTAL, RunHistory

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LINES_MAX = 8  # more lines than this in one panel cannot be told apart
_COLUMNS = 3


def curves_figure(history: RunHistory) -> Figure:
    """Draw losses, task weights, learning rate, the selection score and each task's validation metrics over epochs.

    Losses are the unweighted ones. A dotted line marks the best epoch. Panels of which nothing is known are left out.
    """
    draws: list[Callable[[Axes], None]] = [
        partial(_lines, history=history, part="train", names=_losses(history), title="Training loss, not weighted"),
        partial(_lines, history=history, part="weights", names=history.names("weights"), title="Weight of each task"),
        partial(_rate, history=history),
    ]
    for title, names in _validation_panels(history):
        draws.append(partial(_lines, history=history, part="validation", names=names, title=title))
    figure, panels = panels_in_rows(len(draws), _COLUMNS, 4.2, 3.1)
    for panel, draw in zip(panels, draws, strict=True):
        draw(panel)
        _finish(panel, history)
    return figure


def _losses(history: RunHistory) -> list[str]:
    names = history.names("train")
    return [name for name in names if name != TOTAL] or names


def _validation_panels(history: RunHistory) -> list[tuple[str, list[str]]]:
    """Group validation's metrics in panels: selection scores, then each task's, then the rest."""
    names = [name for name in history.names("validation") if history.series("validation", name)[1]]
    selection = [name for name in names if name.startswith(SELECTION)]
    panels = [("Validation: selection score", selection)] if selection else []
    scores = [name for name in names if "score" in name.split("_")]  # those of a challenge, over several tasks
    panels += [("Validation: scores", scores[:_LINES_MAX])] if scores else []
    left = [name for name in names if name not in (*selection, *scores)]
    for task in sorted(history.tasks, key=len, reverse=True):
        mine = [name for name in left if name.startswith(f"{task}_")]
        left = [name for name in left if name not in mine]
        panels += [(f"Validation: {task}", group) for group in _groups(mine, task)]
    return panels + [("Validation", group) for group in _groups(left, "")]


def _groups(names: Sequence[str], task: str) -> list[list[str]]:
    """Group metrics of the same scale."""
    found: dict[str, list[str]] = {}
    for name in names:
        kind = name.removeprefix(f"{task}_").split("_")[0]
        found.setdefault("zero" if "zero" in name else kind, []).append(name)
    for constant in ("zero", "complete"):  # what predicting nothing would give, and the number of complete cases
        found.pop(constant, None)
    return [group[:_LINES_MAX] for group in found.values()]


def _lines(panel: Axes, history: RunHistory, part: str, names: Sequence[str], title: str) -> None:
    positive, several = True, len(names) > 1
    for position, name in enumerate(names):
        epochs, values = history.series(part, name)
        color = COLORS[position % len(COLORS)]
        panel.plot(
            epochs, values, marker="o", markersize=3.5, linewidth=1.8, label=name, color=ON_WHITE.get(color, color)
        )
        positive = positive and all(value > 0 for value in values)
    if part == "train" and positive and names:
        panel.set_yscale("log")
    panel.set_title(title if several or not names else f"{title}\n{names[0]}", fontsize=10.5, color=TEXT, loc="left")
    if several:
        panel.legend(fontsize=8, framealpha=0.8)


def _rate(panel: Axes, history: RunHistory) -> None:
    panel.plot(*history.rates, marker="o", markersize=3.5, linewidth=1.8, color=TEXT)
    panel.set_title("Learning rate", fontsize=10.5, color=TEXT, loc="left")


def _finish(panel: Axes, history: RunHistory) -> None:
    from matplotlib.ticker import MaxNLocator

    for found in history.best.values():
        panel.axvline(float(found["epoch"]), color=TEXT, linewidth=1, linestyle=":", zorder=0)
    panel.set_xlabel("epoch", fontsize=9.5, color=TEXT)
    panel.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    panel.tick_params(labelsize=9)
    panel.grid(color=GRID, linewidth=0.7)
    panel.spines[["top", "right"]].set_visible(False)
