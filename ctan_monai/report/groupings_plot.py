"""Which filters serve which task: probabilities against depth, and how sure a run has become, from metrics.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ctan_monai.report.canvas import GRID, TEXT, line_color, new_figure
from ctan_monai.report.html import Table
from ctan_monai.report.run_files import RunHistory

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GROUPINGS = "groupings"  # of an epoch's record
_SHARED = "shared"
_SHARED_COLOR = "#9A9A9A"


def last_groupings(history: RunHistory) -> Mapping[str, Mapping[str, Any]]:
    """Return the groupings of the last epoch that has some, by layer; empty for networks without filter groups."""
    found = [record[GROUPINGS] for record in history.epochs if record.get(GROUPINGS)]
    return found[-1] if found else {}


def groupings_figure(history: RunHistory) -> Figure:
    """Draw the mean probability of each group against depth, the most probable groups, and entropy over epochs.

    Bars are stacked as in the paper: tasks outside, shared filters between the first task and the others.

    Source: SFG, the figure of learned groupings; NiftyNet's histograms.
    """
    layers = last_groupings(history)
    figure = new_figure(13.0, 3.8)
    left, middle, right = figure.subplots(1, 3)
    names = _order(next(iter(layers.values()))["mean"])
    colors = {name: _SHARED_COLOR if name == _SHARED else line_color(at) for at, name in enumerate(names)}
    _stack(left, layers, "mean", names, colors)
    left.set(title="mean probability of each group", ylabel="probability", ylim=(0, 1))
    _stack(middle, layers, "kernels", names, colors)
    middle.set(title="kernels by most probable group", ylabel="kernels")
    middle.legend(frameon=False, fontsize=9)
    for at, layer in enumerate(layers):
        known = [(r["epoch"], r[GROUPINGS][layer]["entropy"]) for r in history.epochs if layer in r.get(GROUPINGS, {})]
        right.plot([epoch for epoch, _ in known], [h for _, h in known], color=line_color(at), label=layer, marker=".")
    right.set(title="entropy of a kernel's probabilities", xlabel="epoch", ylabel="nats, mean over the layer")
    right.legend(frameon=False, fontsize=9)
    for panel in (left, middle, right):
        panel.grid(color=GRID, axis="y")
        panel.set_axisbelow(True)
        panel.title.set_color(TEXT)
    return figure


def groupings_table(history: RunHistory) -> Table:
    """Return the figure's numbers: by layer the mean probability and the kernels of each group, and the entropy."""
    layers = last_groupings(history)
    names = _order(next(iter(layers.values()))["mean"])
    rows = [
        [
            layer,
            *(f"{entry['mean'][name]:.3f} ({entry['kernels'][name]})" for name in names),
            f"{entry['entropy']:.4f}",
        ]
        for layer, entry in layers.items()
    ]
    return Table(("layer", *names, "entropy / nats"), rows)


def _order(names: Mapping[str, Any]) -> list[str]:
    """Put the shared group behind the first task."""
    tasks = [name for name in names if name != _SHARED]
    return [tasks[0], _SHARED, *tasks[1:]]


def _stack(
    panel: Axes, layers: Mapping[str, Mapping[str, Any]], part: str, names: list[str], colors: Mapping[str, str]
) -> None:
    bottom = [0.0] * len(layers)
    for name in names:
        heights = [float(entry[part][name]) for entry in layers.values()]
        panel.bar(list(layers), heights, bottom=bottom, color=colors[name], label=name, width=0.7)
        bottom = [low + height for low, height in zip(bottom, heights, strict=True)]
    panel.set_xlabel("layer, from the image to the answers")
    panel.tick_params(axis="x", labelsize=9)
