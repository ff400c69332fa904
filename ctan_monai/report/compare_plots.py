"""Images of a comparison: learning curves, task weights, box plots and the forest of improvements."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ctan_monai.metrics.main_metric import main_metric_for
from ctan_monai.report.canvas import COLORS, TEXT, finish_panel, line_color, new_figure, panels_in_rows
from ctan_monai.report.compare_files import ComparedRow, Comparison
from ctan_monai.report.compare_judge import MEAN
from ctan_monai.report.run_files import RunHistory

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLUMNS = 3
_POINTS_MAX = 400  # more points than this over a box are a smear


def curves_figure(comparison: Comparison) -> Figure:
    """Draw each task's selection score in validation over epochs: seeds thin, their mean bold."""
    names = [task.name for task in comparison.tasks]
    figure, panels = panels_in_rows(len(names) + 1, _COLUMNS, 4.6, 3.3)
    for panel, name in zip(panels, ["selection", *(f"selection_{name}" for name in names)], strict=True):
        for index, row in enumerate(comparison.rows):
            _lines(panel, row, "validation", name, line_color(index))
        title = "all tasks" if name == "selection" else name.removeprefix("selection_")
        _finish(panel, f"Validation, selection score: {title}", "epoch")
    panels[0].legend(fontsize=8)
    return figure


def weights_figure(comparison: Comparison) -> Figure | None:
    """Draw the weights of the tasks' losses over epochs for each row that changes them; None if none does."""
    rows = [row for row in comparison.rows if _changes(row)]
    if not rows:
        return None
    figure, panels = panels_in_rows(len(rows), _COLUMNS, 4.6, 3.3)
    for panel, row in zip(panels, rows, strict=True):
        for index, task in enumerate(comparison.tasks):
            _lines(panel, row, "weights", task.name, line_color(index), task.name)
        _finish(panel, f"Weights of the losses: {row.name}", "epoch")
        panel.legend(fontsize=8)
    return figure


def boxes_figure(comparison: Comparison) -> Figure | None:
    """Draw the distribution over test cases of each task whose metric is a mean over cases; None if none is."""
    found = []
    for task in comparison.tasks:
        metric = main_metric_for(task)
        columns = [_case_means(row, comparison, metric) for row in comparison.rows]
        if all(column is not None for column in columns):
            found.append((f"{task.name}: {metric.label} ({metric.unit})", columns))
    if not found:
        return None
    figure, panels = panels_in_rows(len(found), _COLUMNS, 4.6, 4.6)
    for panel, (title, columns) in zip(panels, found, strict=True):
        known = [column[~np.isnan(column)] for column in columns if column is not None]
        boxes = panel.boxplot(known, widths=0.55, showfliers=len(known[0]) > _POINTS_MAX, patch_artist=True)
        for index, (box, values) in enumerate(zip(boxes["boxes"], known, strict=True)):
            box.set(facecolor="white", edgecolor=line_color(index), linewidth=1.6)
            if len(values) <= _POINTS_MAX:
                place = index + 1 + np.linspace(-0.18, 0.18, len(values))
                panel.plot(place, values, ".", color=line_color(index), markersize=3, alpha=0.6)
        panel.set_xticks(range(1, len(columns) + 1), [row.name for row in comparison.rows], rotation=30, ha="right")
        _finish(panel, title, "test cases, mean over seeds")
    return figure


def forest_figure(summary: Mapping[str, Any]) -> Figure:
    """Draw each row's improvement over the reference with its interval; filled where a verdict says better or worse."""
    rows = {name: row["against_reference"] for name, row in summary["rows"].items() if row["against_reference"]}
    parts = [*summary["tasks"], MEAN]
    figure = new_figure(2.4 + 3.2 * len(parts), 1.5 + 0.42 * max(1, len(rows)))
    for index, (panel, part) in enumerate(zip(figure.subplots(1, len(parts), squeeze=False)[0], parts, strict=True)):
        for place, found in enumerate(rows.values()):
            entry = found[part]
            low, high = entry["interval"]
            sure = entry["verdict"] in ("better", "worse")
            if not (low is None or high is None or math.isnan(low)):
                panel.plot([low, high], [place, place], color=TEXT, linewidth=1.4)
            fill = COLORS[5] if sure else "white"
            panel.plot(entry["delta"], place, "o", color=TEXT, markerfacecolor=fill, markersize=7)
        panel.axvline(0, color=TEXT, linewidth=1, linestyle=":")
        panel.set_yticks(range(len(rows)), rows if index == 0 else [""] * len(rows))
        panel.set_ylim(len(rows) - 0.5, -0.5)
        _finish(panel, f"Delta {part}", f"% over {summary['reference']}, 95 % over {summary['intervals_over']}")
    return figure


def _lines(panel: Axes, row: ComparedRow, part: str, name: str, color: str, label: str | None = None) -> None:
    found = [training.history.series(part, name) for training in row.trainings]
    for epochs, values in found:
        panel.plot(epochs, values, color=color, linewidth=0.8, alpha=0.45)
    common = sorted(set.intersection(*(set(epochs) for epochs, _ in found)))
    tables = [dict(zip(epochs, values, strict=True)) for epochs, values in found]
    means = [float(np.mean([table[epoch] for table in tables])) for epoch in common]
    panel.plot(common, means, color=color, linewidth=2, marker="o", markersize=3, label=label or row.name)


def _changes(row: ComparedRow) -> bool:
    histories = [training.history for training in row.trainings]
    return any(_differs(history, name) for history in histories for name in history.names("weights"))


def _differs(history: RunHistory, name: str) -> bool:
    return len(set(history.series("weights", name)[1])) > 1


def _case_means(row: ComparedRow, comparison: Comparison, metric: Any) -> Any:
    tables = [metric.case_values(run.evaluated.values(metric)) for run in row.runs if run.seed in comparison.seeds]
    return None if any(table is None for table in tables) else metric.factor * np.mean(tables, axis=0)


def _finish(panel: Axes, title: str, label: str) -> None:
    finish_panel(panel, title, label)
    panel.tick_params(labelsize=9)
    panel.set_axisbelow(True)
    if label == "epoch":
        from matplotlib.ticker import MaxNLocator

        panel.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
