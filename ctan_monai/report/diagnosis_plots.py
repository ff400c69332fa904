"""Plots of a diagnosis: effects of exchanges, shares, ranks, masks and gradients."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ctan_monai.report.canvas import COLORS, TEXT, finish_panel, line_color, new_figure, panels_in_rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Found = Mapping[str, Any]
_WORSE, _BETTER = COLORS[6], COLORS[2]
_ROW_INCHES = 0.24
_MASKS_IN_ROW = 4


def concerns(entry: Mapping[str, Any], task: str) -> bool:
    """Tell whether a part can affect a task: a decoder's inputs affect its own task only."""
    return entry["kind"] not in ("query", "skip") or entry["task"] in (None, task)


def effects_figure(found: Found) -> Figure:
    """Plot the change of each task's main metric by exchange with its interval, filled where it excludes 0."""
    tried = [entry for entry in found["experiments"] if entry["kind"] != "image"]
    names = [f"{entry['part']}: {entry['replacement']}" for entry in tried]
    main = found["main"]
    figure = new_figure(3.2 + 3.6 * len(main), 1.3 + _ROW_INCHES * len(tried))
    for index, (panel, (task, metric)) in enumerate(
        zip(figure.subplots(1, len(main), squeeze=False)[0], main.items(), strict=True)
    ):
        for place, entry in enumerate(tried):
            if concerns(entry, task):
                _effect(panel, place, entry["metrics"][metric["key"]], metric["factor"], entry["answers"][task])
        panel.axvline(0, color=TEXT, linewidth=1, linestyle=":")
        panel.set_yticks(range(len(tried)), names if index == 0 else [""] * len(tried))
        panel.set_ylim(len(tried) - 0.5, -0.5)
        better = "right" if metric["higher_is_better"] else "left"
        _finish(panel, f"{task}: change of {metric['label']}", f"{_unit(metric)}; better is to the {better}")
    return figure


def shares_figure(found: Found) -> Figure | None:
    """Plot the share of the logits' variance that each part explains, by task; None without any."""
    shared = {
        task: [
            (entry["part"], entry["variance_share"][task])
            for entry in found["experiments"]
            if _known(entry["variance_share"].get(task)) and concerns(entry, task)
        ]
        for task in found["main"]
    }
    most = max((len(bars) for bars in shared.values()), default=0)
    if not most:
        return None
    figure = new_figure(5.6 * len(shared), 1.3 + 0.27 * most)
    for panel, (task, bars) in zip(figure.subplots(1, len(shared), squeeze=False)[0], shared.items(), strict=True):
        panel.barh(range(len(bars)), [share for _, share in bars], color=COLORS[5], height=0.65)
        for place, (_, share) in enumerate(bars):
            panel.text(share, place, f" {share:.3f}", va="center", fontsize=8, color=TEXT)
        panel.set_yticks(range(len(bars)), [name for name, _ in bars])
        panel.set_ylim(most - 0.5, -0.5)
        panel.set_xlim(0, 1.18 * max([1.0, *(share for _, share in bars)]))
        _finish(panel, f"Answer {task}", "share of the logits' variance (0: idle)")
    return figure


def ranks_figure(found: Found) -> Figure | None:
    """Plot the effective rank along the network; None where no features were measured."""
    rows = [row for row in found["features"] if _known(row["rank"])]
    if not rows:
        return None
    figure = new_figure(8.6, 1.3 + 0.27 * len(rows))
    panel = figure.subplots(1, 1)
    ranks = [row["rank"] for row in rows]
    panel.barh(range(len(rows)), ranks, color=COLORS[2], height=0.65)
    for place, row in enumerate(rows):
        words = f" {row['rank']:.1f} of {row['channels']}; largest direction {100 * row['largest_share']:.0f} %"
        panel.text(row["rank"], place, words, va="center", fontsize=8, color=TEXT)
    panel.set_yticks(range(len(rows)), [row["features"] for row in rows])
    panel.set_ylim(len(rows) - 0.5, -0.5)
    panel.set_xscale("log")
    panel.set_xlim(1, 8 * max(2.0, *ranks))
    _finish(panel, "Effective rank", "directions that the features use (1: all channels say the same)")
    return figure


def masks_figure(found: Found) -> Figure | None:
    """Plot the distribution of each mask's values; None where there are no masks."""
    rows = found["masks"]
    if not rows:
        return None
    figure, panels = panels_in_rows(len(rows), _MASKS_IN_ROW, 2.9, 2.1, sharex=True, sharey=True)
    for panel, row in zip(panels, rows, strict=True):
        bins = len(row["histogram"])
        panel.bar([(place + 0.5) / bins for place in range(bins)], row["histogram"], 1 / bins, color=COLORS[5])
        panel.axvline(row["mean"], color=TEXT, linewidth=1.2)
        panel.set_xlim(0, 1)
        _finish(panel, row["mask"], f"mean {row['mean']:.2f}, SD {row['standard_deviation']:.2f}")
    return figure


def gradients_figure(found: Found) -> Figure | None:
    """Plot the norm of each task's gradient at each shared layer, and the cosine of each pair; None without any."""
    rows = found.get("gradients") or []
    if not rows:
        return None
    figure = new_figure(11.0, 1.5 + 0.3 * len(rows))
    norms, cosines = figure.subplots(1, 2)
    places = range(len(rows))
    for index, task in enumerate(rows[0]["norm"]):
        norms.plot([row["norm"][task] for row in rows], places, "o-", color=line_color(index), label=task)
    for index, pair in enumerate(rows[0]["cosine"]):
        color = line_color(index + len(rows[0]["norm"]))
        cosines.plot([row["cosine"][pair] for row in rows], places, "o", color=color, label=pair)
        for place, row in enumerate(rows):
            values = [value for value in row["cosine_by_batch"][pair] if _known(value)]
            cosines.plot(values, [place] * len(values), ".", color=color, markersize=4, alpha=0.5)
    norms.set_xscale("log")
    cosines.set_xlim(-1.05, 1.05)
    cosines.axvline(0, color=TEXT, linewidth=1, linestyle=":")
    for panel, labels, words in (
        (norms, [row["layer"] for row in rows], "norm of the task's gradient"),
        (cosines, [""] * len(rows), "cosine: 1 together, 0 unrelated, -1 against each other"),
    ):
        panel.set_yticks(list(places), labels)
        panel.set_ylim(len(rows) - 0.5, -0.5)
        panel.legend(fontsize=8)
        _finish(panel, "Gradients at shared layers" if panel is norms else "Direction (small dots: batches)", words)
    return figure


def _effect(panel: Axes, place: int, change: Mapping[str, Any], factor: float, verdict: str) -> None:
    low, high, middle = change["low"], change["high"], change["change"]
    if not _known(middle):
        return
    color = {"worse": _WORSE, "better": _BETTER}.get(verdict, "white")
    if _known(low) and _known(high):
        panel.plot([factor * low, factor * high], [place, place], color=TEXT, linewidth=1.3)
    panel.plot(factor * middle, place, "o", color=TEXT, markerfacecolor=color, markersize=6)


def _unit(metric: Mapping[str, Any]) -> str:
    return "points (%)" if metric["unit"] == "%" else str(metric["unit"])


def _known(value: Any) -> bool:
    return isinstance(value, int | float) and not math.isnan(value)


def _finish(panel: Axes, title: str, label: str) -> None:
    finish_panel(panel, title, label, "x")
    panel.tick_params(labelsize=8.5)
    panel.set_axisbelow(True)


def figures_of(found: Found) -> Sequence[tuple[str, Figure | None]]:
    """Create all figures by name, None for those without data."""
    tried = any(entry["kind"] != "image" for entry in found["experiments"])
    return (
        ("effects", effects_figure(found) if tried else None),
        ("shares", shares_figure(found)),
        ("ranks", ranks_figure(found)),
        ("masks", masks_figure(found)),
        ("gradients", gradients_figure(found)),
    )
