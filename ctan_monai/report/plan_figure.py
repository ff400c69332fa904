"""Plots of planned dose, predicted dose and their difference on three planes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ctan_monai.report.canvas import ON_WHITE, TARGET, TEXT, UNDER_COLORS, colors_of, new_figure
from ctan_monai.report.layout import Box, CaseView, frame
from ctan_monai.report.overlay import CT_WINDOW_HU, Content, Scales, dose_ticks, draw_legend, lpi_view, scales_of
from ctan_monai.report.panels import DASHED, SOLID, draw_contours, draw_dose, draw_error, draw_gray
from ctan_monai.report.planes import Plane, choose_point, planes_through

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = NDArray[Any]
_ISODOSE, _ISODOSE_COLOR = 0.95, "#00E676"
_SIDE, _GAP, _LEFT, _HEAD, _BARS, _FOOT = 3.55, 0.07, 0.34, 0.36, 0.72, 0.62  # inches


def point_of(view: CaseView) -> tuple[tuple[int, int, int], str]:
    """Choose the planes' intersection, the targets' center, else the high-dose volume's, and describe it."""
    contours = view.reference if any(name in view.reference for name in view.targets) else view.predicted
    targets = [name for name in view.targets if name in contours and contours[name].any()]
    if targets:
        mask = np.any(np.stack([contours[name] for name in targets]), axis=0)
        i, j, k = (round(float(places.mean())) for places in np.nonzero(mask))
        kind = "" if contours is view.reference else "predicted "
        return (i, j, k), f"through the center of the {kind}{' and '.join(targets)}"
    dose = view.dose_predicted if view.dose_reference is None else view.dose_reference
    return choose_point("dose", view.image.shape, dose, list((view.reference or view.predicted).values()))


def plan_figure(view: CaseView, window: tuple[float, float] = CT_WINDOW_HU) -> Figure:
    """Plot the predicted dose of a case, beside the planned one if there is one.

    Rows are the axial, coronal and sagittal plane, in radiological convention. Planned contours are solid, predicted
    ones dashed, targets white; doses under 10 % of the highest are not colored.

    Args:
        view: the case.
        window: gray values that are black and white.
    """
    point, _ = point_of(view)
    cuts = planes_through(point, view.image.shape, view.affine_ras)
    reoriented = lpi_view(view)
    columns = columns_of(reoriented)
    scales = scales_of([column.dose for column in columns], [column.error for column in columns])
    boxes = [frame(plane, reoriented.image > window[0], square=False) for plane in cuts]
    grid = Grid(tuple(_SIDE * (box[2] - box[3]) / (box[1] - box[0]) for box in boxes), len(columns))
    figure = new_figure(*grid.size_inches, arrange=False)
    shown: dict[str, Any] = {}
    for row, (plane, box) in enumerate(zip(cuts, boxes, strict=True)):
        for number, column in enumerate(columns):
            panel = figure.add_axes(grid.panel(row, number))
            shown[column.title] = _draw(panel, plane, box, column, reoriented, window, scales)
            beside, above = (column.title, plane.name) if grid.flat else (plane.name, column.title)
            if (row if not grid.flat else 0) == 0:
                panel.set_title(above, fontsize=12, color=TEXT, fontweight="bold")
            if (row if grid.flat else number) == 0:
                panel.set_ylabel(beside, fontsize=12, color=TEXT, fontweight="bold")
    _bars(figure, columns, shown, grid)
    colors = {name: ON_WHITE.get(color, color) for name, color in colors_of(reoriented.names).items()}
    words = ("planned contour", "predicted contour")
    draw_legend(
        figure, reoriented, colors, reoriented.targets_here, words, _isodose_entry(reoriented.plan.prescription_gy)
    )
    return figure


@dataclass(frozen=True)
class Grid:
    """Layout of panels: a row for each plane; a single column has its planes side by side.

    Args:
        heights: of each plane's panels, inches.
        columns: number of columns.
    """

    heights: tuple[float, ...]
    columns: int

    @property
    def flat(self) -> bool:
        """Whether the planes stand side by side."""
        return self.columns == 1

    @property
    def size_inches(self) -> tuple[float, float]:
        """Width and height of the figure."""
        across = len(self.heights) if self.flat else self.columns
        down = max(self.heights) if self.flat else sum(self.heights) + (len(self.heights) - 1) * _GAP
        return _LEFT + across * (_SIDE + _GAP), _HEAD + down + _GAP + _BARS + _FOOT

    def panel(self, row: int, column: int) -> tuple[float, float, float, float]:
        """Return left, bottom, width and height of a panel as fractions of the figure."""
        width, height = self.size_inches
        left = _LEFT + (row if self.flat else column) * (_SIDE + _GAP)
        above = 0.0 if self.flat else sum(self.heights[:row]) + row * _GAP
        bottom = height - _HEAD - above - self.heights[row]
        return left / width, bottom / height, _SIDE / width, self.heights[row] / height

    def bar(self, columns: Sequence[int]) -> tuple[float, float, float, float]:
        """Return the place of a color bar under some columns."""
        width, height = self.size_inches
        across = len(self.heights) if self.flat else len(columns)
        span = across * (_SIDE + _GAP) - _GAP
        left = _LEFT + columns[0] * (_SIDE + _GAP) + 0.06 * span
        return left / width, (_FOOT + _BARS - 0.25) / height, 0.88 * span / width, 0.15 / height


def columns_of(view: CaseView) -> list[Content]:
    """Create the columns of what is known."""
    planned = view.reference
    targets = {name: mask for name, mask in planned.items() if name in view.targets}
    prediction = Content("Predicted dose", view.dose_predicted, None, targets, view.predicted)
    if view.dose_reference is None or view.dose_predicted is None:
        return [prediction]
    error = view.dose_predicted.astype(np.float32) - view.dose_reference
    if view.dose_region is not None:
        error = error * view.dose_region
    return [
        Content("Planned dose", view.dose_reference, None, planned, {}),
        prediction,
        Content("Predicted - planned", None, error, planned, {}),
    ]


def _draw(
    panel: Axes, plane: Plane, box: Box, column: Content, view: CaseView, window: tuple[float, float], scales: Scales
) -> Any:
    colors = {**colors_of(view.names), **dict.fromkeys(view.targets, TARGET)}
    draw_gray(panel, plane, box, view.image, window, dim=True)
    shown = None
    if column.dose is not None:
        shown = draw_dose(panel, plane, column.dose, scales.highest)
        _isodose(panel, plane, column.dose, view.plan.prescription_gy)
    if column.error is not None:
        shown = draw_error(panel, plane, column.error, scales.widest)
    draw_contours(panel, plane, column.solid, colors, SOLID, thin=view.targets)
    draw_contours(panel, plane, column.dashed, colors, DASHED)
    return shown


def _isodose(panel: Axes, plane: Plane, dose: Array, prescription_gy: float | None) -> None:
    """Draw the 95 % isodose of the prescription."""
    from matplotlib.patheffects import withStroke

    cut = plane.cut(dose)
    if prescription_gy is None or not float(cut.min()) < _ISODOSE * prescription_gy < float(cut.max()):
        return
    places = ((np.arange(size) + 0.5) * step for size, step in zip(cut.shape[::-1], plane.spacing_mm, strict=True))
    lines = panel.contour(*places, cut, levels=[_ISODOSE * prescription_gy], colors=_ISODOSE_COLOR, linewidths=1.5)
    lines.set_path_effects([withStroke(linewidth=2.7, foreground="black", alpha=0.6)])


def _bars(figure: Figure, columns: Sequence[Content], shown: Mapping[str, Any], grid: Grid) -> None:
    """Draw a color bar under the columns of a scale: the doses share one."""
    doses = [number for number, column in enumerate(columns) if column.dose is not None]
    errors = [number for number, column in enumerate(columns) if column.error is not None]
    for numbers, label in ((doses, "Dose / Gy"), (errors, "Predicted - planned / Gy")):
        if not numbers:
            continue
        place = figure.add_axes(grid.bar(numbers), facecolor=UNDER_COLORS)
        is_dose = numbers == doses
        mapped = shown[columns[numbers[0]].title]
        extend = "neither" if is_dose else "both"
        bar = figure.colorbar(mapped, cax=place, orientation="horizontal", extend=extend, spacing="proportional")
        if is_dose:
            bar.set_ticks(dose_ticks(*place.get_xlim()))
        bar.ax.minorticks_off()
        bar.set_label(label, fontsize=11, color=TEXT)
        bar.ax.tick_params(labelsize=10)


def _isodose_entry(prescription_gy: float | None) -> list[Any]:
    from matplotlib.lines import Line2D

    if prescription_gy is None:
        return []
    label = f"{_ISODOSE:.0%} of {prescription_gy:g} Gy"
    return [Line2D([], [], color=_ISODOSE_COLOR, linewidth=3, label=label)]
