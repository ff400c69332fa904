"""Which filters serve which task: probabilities against depth and over epochs, and how sure runs have become."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

from ctan_monai.report.canvas import GRID, TEXT, line_color, new_figure
from ctan_monai.report.html import Table
from ctan_monai.report.run_files import RunHistory

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Layers = Mapping[str, Mapping[str, Any]]  # by layer: ``mean`` and ``kernels`` by group, ``entropy``
GROUPINGS = "groupings"  # of an epoch's record
_SHARED = "shared"
_COLUMNS = 8  # layers beside each other
_SHARED_COLOR = "#9A9A9A"


def groupings_by_epoch(histories: Sequence[RunHistory]) -> dict[int, Layers]:
    """Return the groupings, mean over runs, of the epochs that all runs have; empty without filter groups.

    Args:
        histories: of runs of one network, with one seed each.
    """
    known = [
        {record["epoch"]: record[GROUPINGS] for record in run.epochs if record.get(GROUPINGS)} for run in histories
    ]
    epochs = [epoch for epoch in known[0] if all(epoch in run for run in known)] if known else []
    return {epoch: _mean([run[epoch] for run in known]) for epoch in epochs}


def last_groupings(*histories: RunHistory) -> Layers:
    """Return the groupings of the last epoch that has some, mean over runs, by layer; empty without filter groups."""
    found = groupings_by_epoch(histories)
    return list(found.values())[-1] if found else {}


def groupings_figure(*histories: RunHistory) -> Figure:
    """Draw the groups' mean probabilities against depth and over epochs, the most probable groups, and the entropy.

    Bars are stacked as in the paper: tasks outside, shared filters between the first task and the others. Of several
    runs, means are drawn.

    Source: SFG, the figure of learned groupings; NiftyNet's histograms.
    """
    by_epoch = groupings_by_epoch(histories)
    layers = last_groupings(*histories)
    columns, rows = min(len(layers), _COLUMNS), math.ceil(len(layers) / _COLUMNS)
    figure = new_figure(13.0, 3.8 + 2.4 * rows)
    upper, lower = figure.subfigures(2, 1, squeeze=False, height_ratios=[3.8, 2.4 * rows])[:, 0]
    left, middle, right = upper.subplots(1, 3)
    names = group_order(layers)
    colors = {name: _SHARED_COLOR if name == _SHARED else line_color(at) for at, name in enumerate(names)}
    _stack(left, layers, "mean", names, colors)
    left.set(title="mean probability of each group", ylabel="probability", ylim=(0, 1))
    _stack(middle, layers, "kernels", names, colors)
    middle.set(title="kernels by most probable group", ylabel="kernels")
    middle.legend(frameon=False, fontsize=9)
    for at, layer in enumerate(layers):
        values = [found[layer]["entropy"] for found in by_epoch.values()]
        right.plot(list(by_epoch), values, color=line_color(at), label=layer, marker=".")
    right.set(title="entropy of a kernel's probabilities", xlabel="epoch", ylabel="nats, mean over the layer")
    right.legend(frameon=False, fontsize=9 if rows == 1 else 7, ncols=rows)
    over_time = lower.subplots(rows, columns, squeeze=False, sharey=True).flatten()
    for spare in over_time[len(layers) :]:
        spare.axis("off")
    for panel, layer in zip(over_time, layers, strict=False):
        shares = [[found[layer]["mean"][name] for found in by_epoch.values()] for name in names]
        panel.stackplot(list(by_epoch), shares, colors=[colors[name] for name in names])
        panel.set(title=f"{layer} over training", xlabel="epoch", ylim=(0, 1))
    for panel in over_time[::columns]:
        panel.set_ylabel("mean probability")
    for panel in (left, middle, right, *over_time):
        panel.grid(color=GRID, axis="y")
        panel.set_axisbelow(True)
        panel.title.set(color=TEXT, fontsize=10)
    return figure


def groupings_table(history: RunHistory) -> Table:
    """Return the figure's numbers: by layer the mean probability and the kernels of each group, and the entropy."""
    layers = last_groupings(history)
    names = group_order(layers)
    rows = [
        [
            layer,
            *(f"{entry['mean'][name]:.3f} ({entry['kernels'][name]:g})" for name in names),
            f"{entry['entropy']:.4f}",
        ]
        for layer, entry in layers.items()
    ]
    return Table(("layer", *names, "entropy / nats"), rows)


def group_order(layers: Layers) -> list[str]:
    """Return the names of the groups, the shared one behind the first task."""
    names = next(iter(layers.values()))["mean"]
    tasks = [name for name in names if name != _SHARED]
    return [tasks[0], _SHARED, *tasks[1:]]


def _mean(runs: Sequence[Layers]) -> Layers:
    """Return the mean over runs of everything that is said of each layer."""
    return {
        layer: {
            **{
                part: {name: fmean(run[layer][part][name] for run in runs) for name in found[part]}
                for part in ("mean", "kernels")
            },
            "entropy": fmean(run[layer]["entropy"] for run in runs),
        }
        for layer, found in runs[0].items()
    }


def _stack(panel: Axes, layers: Layers, part: str, names: list[str], colors: Mapping[str, str]) -> None:
    bottom = [0.0] * len(layers)
    for name in names:
        heights = [float(entry[part][name]) for entry in layers.values()]
        panel.bar(list(layers), heights, bottom=bottom, color=colors[name], label=name, width=0.7)
        bottom = [low + height for low, height in zip(bottom, heights, strict=True)]
    panel.set_xlabel("layer, from the image to the answers")
    panel.tick_params(axis="x", labelsize=9, labelrotation=90 if len(layers) > _COLUMNS else 0)
