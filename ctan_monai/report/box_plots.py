"""Box plots over patients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ctan_monai.report.canvas import COLORS, GRID, TEXT, panels_in_rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLUMNS = 2
_BOX, _DOT = "#BFD9EC", COLORS[5]
_HEIGHT, _WHISKER = 0.6, 1.5
_DOTS_MAX = 60  # more dots than this in one box hide it


def box_figure(
    panels: Mapping[str, Mapping[str, Sequence[float]]], label: str, zero: bool = False, columns: int = _COLUMNS
) -> Figure:
    """Draw a panel of boxes for each entry: quartiles, median, whiskers to the last case within 1.5 boxes.

    Args:
        panels: by title, by name of a box, the numbers; boxes without a number are left out.
        label: of the axis, with the unit.
        zero: whether to draw a line at 0.
        columns: panels in a row.
    """
    most = max((len(boxes) for boxes in panels.values()), default=1)
    figure, axes = panels_in_rows(len(panels), columns, 5.4, 1.2 + 0.34 * most)
    for panel, (title, boxes) in zip(axes, panels.items(), strict=True):
        _draw(panel, {name: values for name, values in boxes.items() if len(values)}, zero)
        panel.set_title(title, fontsize=11, color=TEXT, loc="left")
        panel.set_xlabel(label, fontsize=10, color=TEXT)
    return figure


def _draw(panel: Axes, boxes: Mapping[str, Sequence[float]], zero: bool) -> None:
    panel.use_sticky_edges = False  # a bar's ends are sticky: without margin the outermost boxes would be cut in half
    names = [f"{name} (n = {len(values)})" for name, values in boxes.items()]
    places = list(range(1, len(names) + 1))
    for place, values in zip(places, boxes.values(), strict=True):
        low, median, high = np.percentile(values, (25, 50, 75))
        reach = _WHISKER * (high - low)
        within = [value for value in values if low - reach <= value <= high + reach]
        panel.plot([min(within), max(within)], [place, place], color=TEXT, linewidth=1)
        panel.barh(place, high - low, _HEIGHT, low, facecolor=_BOX, edgecolor=TEXT)
        panel.plot([median, median], [place - _HEIGHT / 2, place + _HEIGHT / 2], color=TEXT, linewidth=2.5)
        if len(values) <= _DOTS_MAX:
            # spread the dots over the box's height by their order, so that the same numbers give the same image
            heights = [place + _HEIGHT * 0.5 * ((number * 0.618) % 1 - 0.5) for number in range(len(values))]
            panel.plot(values, heights, "o", markersize=3.5, color=_DOT, alpha=0.8, zorder=3)
    panel.set_yticks(places, names, fontsize=10)
    panel.invert_yaxis()
    panel.locator_params(axis="x", nbins=6)  # more labels of five characters touch
    panel.grid(axis="x", color=GRID, linewidth=0.8)
    panel.set_axisbelow(True)
    panel.spines[["top", "right"]].set_visible(False)
    if zero:
        panel.axvline(0, color=TEXT, linewidth=1)
