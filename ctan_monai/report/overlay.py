"""Overlays of CT, contours and dose on three planes: reference, prediction and difference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ctan_monai.report.canvas import TARGET, TEXT, UNDER_COLORS, colors_of
from ctan_monai.report.layout import Box, CaseView, Layout, frame, titled_figure
from ctan_monai.report.panels import DASHED, SOLID, draw_contours, draw_dose, draw_error, draw_gray
from ctan_monai.report.planes import Plane, PlaneRule, choose_point, planes_through, reorient_lpi

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = NDArray[Any]
CT_WINDOW_HU = (-160.0, 240.0)  # the usual soft tissue window: level 40, width 400
_TENS_GY = 20.0  # from this highest dose on, ticks at multiples of 10 Gy


@dataclass(frozen=True)
class Content:
    """What one row or column of planes shows: title, colormap over the gray values, and two sets of contours."""

    title: str
    dose: Array | None
    error: Array | None
    solid: Mapping[str, Array]
    dashed: Mapping[str, Array]


@dataclass(frozen=True)
class Scales:
    """Maximum of the dose scale and half-width of the error scale, the same in all panels."""

    highest: float
    widest: float


def overlay_figure(
    view: CaseView, planes: PlaneRule = "dose", window: tuple[float, float] = CT_WINDOW_HU, subtitle: str = ""
) -> Figure:
    """Draw a case on its axial, coronal and sagittal plane, in radiological convention.

    A row for the reference, one for the prediction, one for the difference; without a reference only the second.
    Reference contours are solid, predicted ones dashed, targets white. Doses under 10 % of the highest are not
    colored.

    Args:
        view: the case.
        planes: where to cut (`planes.choose_point`).
        window: gray values that are black and white.
        subtitle: stands under the title, for metrics; on several lines if it is long.

    Raises:
        ConfigError: the planes are no rule, or lie outside.
        DataError: the case has not three axes.
    """
    point, reason = choose_point(planes, view.image.shape, _first_dose(view), _first_masks(view))
    cuts = planes_through(point, view.image.shape, view.affine_ras)
    reoriented = lpi_view(view)
    rows = rows_of(reoriented)
    scales = scales_of([row.dose for row in rows], [row.error for row in rows])
    boxes = [frame(plane, reoriented.image > window[0]) for plane in cuts]
    about = f"Planes {reason}: voxel {point}."
    figure, layout = titled_figure(view.case, Layout(len(rows), len(cuts)), subtitle, about)
    for number, row in enumerate(rows):
        _draw_row(figure, layout, number, row, list(zip(cuts, boxes, strict=True)), reoriented, window, scales)
    targets = [name for name in reoriented.targets if name in reoriented.reference]
    draw_legend(figure, reoriented, colors_of(reoriented.names), targets, ("reference", "prediction"), row=7)
    return figure


def rows_of(view: CaseView) -> list[Content]:
    """Create the rows of what is known."""
    targets = {name: mask for name, mask in view.reference.items() if name in view.targets}
    prediction = Content("Prediction", view.dose_predicted, None, targets, view.predicted)
    if not view.reference and view.dose_reference is None:
        return [prediction]
    error = None
    if view.dose_reference is not None and view.dose_predicted is not None:
        error = view.dose_predicted.astype(np.float32) - view.dose_reference
        if view.dose_region is not None:
            error = error * view.dose_region
    reference = Content("Reference", view.dose_reference, None, view.reference, {})
    title = "Prediction - reference" if error is not None else "Both"
    return [reference, prediction, Content(title, None, error, view.reference, view.predicted)]


def _draw_row(
    figure: Figure,
    layout: Layout,
    number: int,
    row: Content,
    cuts: Sequence[tuple[Plane, Box]],
    view: CaseView,
    window: tuple[float, float],
    scales: Scales,
) -> None:
    colors = {**colors_of(view.names), **dict.fromkeys(view.targets, TARGET)}
    shown = None
    for column, (plane, box) in enumerate(cuts):
        panel = figure.add_axes(layout.panel(number, column))
        draw_gray(panel, plane, box, view.image, window, dim=row.dose is not None or row.error is not None)
        if row.dose is not None:
            shown = draw_dose(panel, plane, row.dose, scales.highest)
        if row.error is not None:
            shown = draw_error(panel, plane, row.error, scales.widest)
        draw_contours(panel, plane, row.solid, colors, SOLID, thin=view.targets)
        draw_contours(panel, plane, row.dashed, colors, DASHED)
        if number == 0:
            panel.set_title(plane.name, fontsize=11, color=TEXT)
        if column == 0:
            panel.set_ylabel(row.title, fontsize=12, color=TEXT, fontweight="bold")
    if shown is not None:
        _color_bar(figure, layout, number, shown, f"{'Dose' if row.error is None else 'Dose error'} / {view.dose_unit}")


def lpi_view(view: CaseView) -> CaseView:
    """Reorient every array of a case as `planes.reorient_lpi` does."""

    def each(arrays: Mapping[str, Array]) -> dict[str, Array]:
        return {name: reorient_lpi(array, view.affine_ras) for name, array in arrays.items()}

    def maybe(array: Array | None) -> Array | None:
        return None if array is None else reorient_lpi(array, view.affine_ras)

    return replace(
        view,
        image=reorient_lpi(view.image, view.affine_ras),
        reference=each(view.reference),
        predicted=each(view.predicted),
        dose_reference=maybe(view.dose_reference),
        dose_predicted=maybe(view.dose_predicted),
        dose_region=maybe(view.dose_region),
    )


def _first_dose(view: CaseView) -> Array | None:
    return view.dose_predicted if view.dose_reference is None else view.dose_reference


def _first_masks(view: CaseView) -> list[Array]:
    masks = {name: mask for name, mask in view.reference.items() if name not in view.targets}
    return list((masks or view.predicted or view.reference).values())


def scales_of(doses: Sequence[Array | None], errors: Sequence[Array | None]) -> Scales:
    """Choose scales up to the maximum dose, and to 99.5 % of the errors that are not 0, at least 1 Gy."""
    highest = max((float(dose.max()) for dose in doses if dose is not None), default=1.0)
    sizes = [np.abs(error[error != 0]) for error in errors if error is not None]
    widest = max((float(np.percentile(size, 99.5)) for size in sizes if size.size), default=1.0)
    return Scales(max(highest, 1e-6), max(1.0, float(np.ceil(widest))))


def _color_bar(figure: Figure, layout: Layout, row: int, shown: Any, label: str) -> None:
    place = figure.add_axes(layout.bar(row), facecolor=UNDER_COLORS)
    is_error = label.startswith("Dose error")
    bar = figure.colorbar(shown, cax=place, extend="both" if is_error else "neither", spacing="proportional")
    if not is_error:
        bar.set_ticks(dose_ticks(*place.get_ylim()))
        bar.ax.minorticks_off()
    bar.set_label(label, fontsize=10, color=TEXT)
    bar.ax.tick_params(labelsize=9)


def dose_ticks(bottom: float, top: float) -> list[float]:
    """Choose the ticks of a dose's color bar: multiples of 10 Gy, or of a smaller round number where few would fit.

    Args:
        bottom: of the bar, Gy.
        top: likewise.
    """
    from matplotlib.ticker import MaxNLocator

    few = MaxNLocator(5, steps=[1, 2, 5, 10]).tick_values(bottom, top)
    found = range(0, 1000, 10) if top >= _TENS_GY else few
    return [float(dose) for dose in found if bottom <= dose <= top * (1 + 1e-6)]  # of a float32


def draw_legend(
    figure: Figure,
    view: CaseView,
    colors: Mapping[str, str],
    targets: Sequence[str],
    words: tuple[str, str],
    more: Sequence[Any] = (),
    row: int = 1,
) -> None:
    """Draw the legend of structures and line styles below the panels.

    Args:
        figure: to draw in.
        view: what is shown of a case.
        colors: by structure; those that are nowhere to be seen are left out.
        targets: structures that are drawn white; those that are nowhere to be seen are left out.
        words: for contours of the reference and of the prediction.
        more: further entries.
        row: so many entries stand in one row, more in two.
    """
    from matplotlib.lines import Line2D

    seen = [{name for name, mask in masks.items() if mask.any()} for masks in (view.reference, view.predicted)]
    entries: list[Any] = [
        Line2D([], [], color=color, linewidth=3, label=name)
        for name, color in colors.items()
        if name in set.union(*seen)
    ]
    if white := [name for name in targets if name in set.union(*seen)]:
        entries.append(Line2D([], [], color="#B5B5B5", linewidth=3, label=f"{', '.join(white)} (white)"))
    styles: tuple[Any, Any] = ("-", DASHED)
    for names, style, word in zip(seen, styles, words, strict=True):
        entries += [Line2D([], [], color=TEXT, linestyle=style, label=word)] if names else []
    entries += more
    columns = -(-len(entries) // 2) if len(entries) > row else max(1, len(entries))
    figure.legend(handles=entries, loc="lower center", ncols=columns, fontsize=10, frameon=False, handlelength=2.4)
