"""Images of volumes with image-level predictions: the cropped box, and the prediction of each slice."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ctan_monai.data.cases.cache import read_case_file
from ctan_monai.data.cases.case import Case
from ctan_monai.data.datasets.stoic.overview import Overview, read_overview
from ctan_monai.engines.predictions.predictions_index import PredictedCase
from ctan_monai.engines.predictions.slice_writer import SLICES_FILE
from ctan_monai.errors import DataError
from ctan_monai.report.agreement import caption_of
from ctan_monai.report.canvas import GRID, TEXT, colors_of, new_figure
from ctan_monai.tasks import Task
from ctan_monai.transforms.labels import read_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LUNG_WINDOW_HU = (-1350.0, 150.0)  # level -600, width 1500
_SHOWN = 4  # slices of each task
_APART_MM = 12.0  # between two slices that are shown
_WIDTH, _TOP, _ROW = 12.0, 3.6, 2.5  # inches

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class SliceCurve:
    """Predictions of the slices of a volume for one class.

    Args:
        name: task, and class where they differ.
        probs: (D,) of each slice.
        weights: (D,) how much each counted.
        pooled: of the patient.
        color: to draw it in.
    """

    name: str
    probs: Array
    weights: Array
    pooled: float
    color: str


def is_findings(predicted: PredictedCase, tasks: Sequence[Task]) -> bool:
    """Tell whether all predictions are image-level."""
    return predicted.source is not None and all(task.classifies for task in tasks)


def draw_findings(
    predicted: PredictedCase, tasks: Sequence[Task], folder: Path, image: str = "ct"
) -> tuple[str, Figure]:
    """Draw a volume with image-level predictions.

    Above: the whole CT with the box that the network saw, and the probability along the body where slices were pooled.
    Below: for each task the slices with the highest probability, or slices from foot to head without `WriteSlices`.

    Args:
        predicted: entry of the index.
        tasks: the index's tasks.
        folder: of the predictions, with ``<case>/slices.csv``.
        image: volume to show.

    Returns:
        A line of metrics, and the image.

    Raises:
        DataError: a file is missing or damaged, or the case has no such volume or not three axes.
    """
    if predicted.source is None:
        raise DataError("cases.json", predicted.case, "the source of the case is not known.", "Predict again.")
    case = read_case_file(predicted.source)
    if image not in case.volumes or len(case.shape) != 3:
        found = f"it has the volumes {list(case.volumes)} of {case.shape}, not {image!r} with three axes."
        raise DataError(predicted.source, case.case, found, "Name the volume that images show.")
    answers = [task for task in tasks if task.classifies and task.name in predicted.answers]
    caption = caption_of(case, [_answer(task, case, predicted.answers[task.name]) for task in answers])
    curves = _read_curves(folder / predicted.case / SLICES_FILE, case, answers, predicted.answers)
    rows = [(f"{curve.name}: slice", curve.color, _most_suspicious(curve, case)) for curve in curves]
    spread = np.linspace(0, case.shape[2] - 1, _SHOWN + 2).round().astype(int)[1:-1].tolist()
    rows = rows or [("slice", TEXT, [(index, "") for index in spread])]
    figure = new_figure(_WIDTH, _TOP + _ROW * len(rows) + 0.5)
    above, *below = figure.subfigures(1 + len(rows), 1, height_ratios=[_TOP] + [_ROW] * len(rows), squeeze=False)[:, 0]
    _draw_above(above, case, curves)
    for part, (title, color, chosen) in zip(below, rows, strict=True):
        panels = part.subplots(1, _SHOWN, squeeze=False)[0]
        for panel, (index, words) in zip(panels, [*chosen, *[(-1, "")] * _SHOWN], strict=False):
            _draw_slice(panel, case, image, index, f"{title} {index}{words}", color)
    low, high = LUNG_WINDOW_HU
    figure.suptitle(
        f"{case.case}, lung window from {low:g} to {high:g} HU\n{caption}", x=0.01, ha="left", fontsize=11, color=TEXT
    )
    return caption, figure


def _answer(task: Task, case: Case, answer: Mapping[str, float]) -> str:
    """Describe prediction and label."""
    label, present = read_label(task, case, Path(case.case))
    if task.exclusive:
        name = max(answer, key=lambda each: answer[each])
        known = task.answer_names[int(label)] if bool(present) else "not known"
        return f"{task.name}: {name} {answer[name]:.0%} (reference: {known})"
    said = []
    for name, holds in zip(task.answer_names, label.tolist(), strict=True):
        known = ("yes" if holds else "no") if bool(present) else "not known"
        said.append(f"{_title(task, name)} {answer[name]:.0%} (reference: {known})")
    return "; ".join(said)


def _title(task: Task, name: str) -> str:
    return task.name if task.name == name else f"{task.name}: {name}"


def _read_curves(
    path: Path, case: Case, tasks: Sequence[Task], answers: Mapping[str, Mapping[str, float]]
) -> list[SliceCurve]:
    """Read the predictions of the slices; nothing where none were pooled."""
    if not path.is_file():
        return []
    names = [(task, name) for task in tasks for name in task.answer_names]
    colors = list(colors_of([f"{task.name} {name}" for task, name in names]).values())
    try:
        rows = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
        if len(rows) != case.shape[2]:
            raise ValueError(f"it has {len(rows)} slices, the case {case.shape[2]}")
        return [
            SliceCurve(
                _title(task, name),
                np.array([float(row[f"{task.name}: {name}"]) for row in rows]),
                np.array([float(row[f"{task.name}: {name} weight"]) for row in rows]),
                answers[task.name][name],
                color,
            )
            for (task, name), color in zip(names, colors, strict=True)
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(path, case.case, f"it is no table of slices ({error}).", "Predict again.") from error


def _most_suspicious(curve: SliceCurve, case: Case) -> list[tuple[int, str]]:
    """Return the slices with the highest probability that are not next to each other, and their probability."""
    apart = max(1, round(_APART_MM / case.spacing_mm[2]))
    chosen: list[int] = []
    for index in np.argsort(-curve.probs, kind="stable").tolist():
        if all(abs(index - other) >= apart for other in chosen):
            chosen.append(index)
    return [(index, f", {curve.probs[index]:.0%}") for index in chosen[:_SHOWN]]


def _draw_above(part: Any, case: Case, curves: Sequence[SliceCurve]) -> None:
    planes = read_overview(case.meta)
    widths = [2.0] * len(planes) + ([4.0] if curves else [])
    panels = part.subplots(1, max(len(widths), 1), width_ratios=widths or [1.0], squeeze=False)[0]
    for panel, (name, plane) in zip(panels, planes.items(), strict=False):
        _draw_overview(panel, name, plane)
    if curves:
        _draw_curves(panels[-1], case, curves)
    elif not planes:
        panels[0].set_axis_off()


def _draw_overview(panel: Axes, name: str, plane: Overview) -> None:
    height, width = plane.sides_mm
    panel.imshow(plane.gray, cmap="gray", vmin=0, vmax=255, extent=(0, width, height, 0), interpolation="bilinear")
    top, bottom, left, right = plane.box_mm
    panel.plot([left, right, right, left, left], [top, top, bottom, bottom, top], color="#E69F00", linewidth=1.6)
    panel.set(xlim=(0, width), ylim=(height, 0), xticks=[], yticks=[])
    panel.set_title(f"{name}: box that was used", fontsize=9, color=TEXT, loc="left")
    _mark_sides(panel)


def _draw_curves(panel: Axes, case: Case, curves: Sequence[SliceCurve]) -> None:
    slices = np.arange(case.shape[2])
    for curve in curves:
        panel.plot(slices, curve.probs, color=curve.color, linewidth=1.4, label=f"{curve.name}, slices")
        panel.axhline(curve.pooled, color=curve.color, linestyle="--", linewidth=1.2, label=f"{curve.name}, patient")
        sizes = 60 * curve.weights / max(float(curve.weights.max()), 1e-9)
        panel.scatter(slices, curve.probs, s=sizes, color=curve.color, alpha=0.6, linewidths=0)
    panel.set(ylim=(-0.02, 1.02), xlim=(-0.5, len(slices) - 0.5), xlabel="slice, from foot to head")
    panel.set_title("probability; larger dots count more for the patient", fontsize=9, color=TEXT, loc="left")
    panel.grid(color=GRID, linewidth=0.8)
    panel.spines[["top", "right"]].set_visible(False)
    panel.legend(fontsize=8, frameon=False, ncols=2, loc="best")


def _draw_slice(panel: Axes, case: Case, image: str, index: int, title: str, color: str) -> None:
    if index < 0:
        panel.set_axis_off()
        return
    shown = case.volumes[image][..., index]
    row_mm, column_mm, _ = case.spacing_mm
    low, high = LUNG_WINDOW_HU
    panel.imshow(shown, cmap="gray", vmin=low, vmax=high, aspect=row_mm / column_mm, interpolation="bilinear")
    panel.set(xticks=[], yticks=[])
    panel.spines[:].set_color(color)
    panel.set_title(title, fontsize=9, color=TEXT, loc="left")
    _mark_sides(panel)


def _mark_sides(panel: Axes) -> None:
    """Label the patient's sides: right is on the left of the image."""
    from matplotlib.patheffects import withStroke

    edge = [withStroke(linewidth=2, foreground="black")]
    for letter, x in (("R", 0.045), ("L", 0.955)):
        panel.text(x, 0.5, letter, color="white", ha="center", transform=panel.transAxes, path_effects=edge)
