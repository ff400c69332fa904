"""MR, real CT, synthetic CT and their difference on three planes; histograms of their HU."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ctan_monai.errors import DataError
from ctan_monai.report.canvas import GRID, TARGET, TEXT, UNDER_COLORS, colors_of, line_color, new_figure
from ctan_monai.report.layout import CaseView, Layout, frame, titled_figure
from ctan_monai.report.overlay import draw_legend, lpi_view
from ctan_monai.report.panels import DASHED, SOLID, draw_contours, draw_error, draw_gray
from ctan_monai.report.planes import PlaneRule, choose_point, planes_through, reorient_lpi

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = NDArray[Any]
WIDE_WINDOW_HU = (-300.0, 700.0)  # soft tissue and bone at once
_LEAST_HU = 100.0  # half width of the scale of errors
_PERCENTILE = 99.0  # of the errors that the scale holds
_HISTOGRAM_HU = (-1024.0, 1600.0)
_BINS = 164  # of 16 HU


def ct_figure(view: CaseView, planes: PlaneRule, window: tuple[float, float], subtitle: str = "") -> Figure:
    """Draw a case with a synthetic CT: a row for each plane, in radiological convention.

    Columns are the MR, the real CT, the synthetic CT and their difference; without a real CT the first and the third.
    Contours of the reference are solid, predicted ones dashed. Differences are shown where the CT counts.

    Args:
        view: the case, with HU as its dose.
        planes: where to cut (`planes.choose_point`).
        window: gray values of the MR that are black and white.
        subtitle: stands under the title, on several lines if it is long.

    Raises:
        ConfigError: the planes are no rule, or lie outside.
        DataError: the case has not three axes, or no synthetic CT.
    """
    if view.dose_predicted is None:
        raise DataError("picture", view.case, "it has no synthetic CT.", "Predict again.")
    masks = [mask for mask in (view.reference or view.predicted).values() if mask.any()]
    point, reason = choose_point("structures" if planes == "dose" else planes, view.image.shape, None, masks)
    cuts = planes_through(point, view.image.shape, view.affine_ras)
    reoriented = lpi_view(view)
    columns = _columns(reoriented, reorient_lpi(view.dose_predicted, view.affine_ras), window)
    about = f"Planes {reason}: voxel {point}."
    figure, layout = titled_figure(view.case, Layout(len(cuts), len(columns)), subtitle, about)
    colors = {**colors_of(reoriented.names), **dict.fromkeys(reoriented.targets, TARGET)}
    shown = None
    for row, plane in enumerate(cuts):
        box = frame(plane, reoriented.image > window[0])
        for column, (title, image, ends, error, contours) in enumerate(columns):
            panel = figure.add_axes(layout.panel(row, column))
            draw_gray(panel, plane, box, image, ends, dim=error is not None)
            if error is not None:
                shown = draw_error(panel, plane, error, _widest(error))
            for kind, style in ((view.reference, SOLID), (view.predicted, DASHED)):
                if kind and style in contours:
                    draw_contours(panel, plane, contours[style], colors, style)
            if row == 0:
                panel.set_title(title, fontsize=11, color=TEXT)
            if column == 0:
                panel.set_ylabel(plane.name, fontsize=12, color=TEXT, fontweight="bold")
    if shown is not None:
        bar = figure.colorbar(shown, cax=figure.add_axes(layout.bar(0), facecolor=UNDER_COLORS), extend="both")
        bar.set_label("synthetic CT - CT / HU", fontsize=10, color=TEXT)
    draw_legend(
        figure, reoriented, colors_of(reoriented.names), reoriented.targets_here, ("reference", "prediction"), row=7
    )
    return figure


_Column = tuple[str, Array, tuple[float, float], Array | None, Mapping[Any, Mapping[str, Array]]]


def _columns(view: CaseView, synthetic: Array, window: tuple[float, float]) -> list[_Column]:
    """Return title, image, window, error and contours by style of each column."""
    known, found = {SOLID: view.reference}, {DASHED: view.predicted}
    columns: list[_Column] = [("MR", view.image, window, None, {**known, **found})]
    if view.dose_reference is not None:
        columns.append(("CT", view.dose_reference, WIDE_WINDOW_HU, None, known))
    columns.append(("synthetic CT", synthetic, WIDE_WINDOW_HU, None, found))
    if view.dose_reference is not None:
        error = synthetic.astype(np.float32) - view.dose_reference
        if view.dose_region is not None:
            error = error * view.dose_region
        columns.append(("synthetic CT - CT", view.dose_reference, WIDE_WINDOW_HU, error, {**known, **found}))
    return columns


def _widest(error: Array) -> float:
    """Return the half width of the scale of errors: it holds 99 % of those that are not 0, at least 100 HU."""
    sizes = np.abs(error[error != 0])
    return max(_LEAST_HU, float(np.ceil(np.percentile(sizes, _PERCENTILE))) if sizes.size else 0.0)


def hu_figure(view: CaseView, subtitle: str = "") -> Figure:
    """Draw the histograms of HU of real and synthetic CT, and their joint histogram, over the voxels that count.

    Args:
        view: the case, with HU as its dose.
        subtitle: a line under the title.

    Raises:
        DataError: the case has no real or no synthetic CT, or no voxel counts.
    """
    from matplotlib.colors import LogNorm

    region = view.dose_region
    if view.dose_reference is None or view.dose_predicted is None or (region is not None and not region.any()):
        raise DataError("picture", view.case, "it has no real or no synthetic CT.", "There is nothing to compare.")
    inside = np.ones(view.image.shape, bool) if region is None else region
    both = (view.dose_reference, view.dose_predicted)
    pair = [np.clip(image[inside].astype(np.float64), *_HISTOGRAM_HU) for image in both]
    edges = np.linspace(*_HISTOGRAM_HU, _BINS + 1)
    figure = new_figure(11.0, 5.0)
    figure.suptitle(f"{view.case}: HU inside the body" + (f"\n{subtitle}" if subtitle else ""), fontsize=11, color=TEXT)
    left, right = figure.subplots(1, 2)
    for number, (values, name) in enumerate(zip(pair, ("CT", "synthetic CT"), strict=True)):
        counts, _ = np.histogram(values, edges)
        left.step(edges[:-1], counts / len(values), where="post", color=line_color(number), label=name)
    left.set(yscale="log", xlabel="HU", ylabel="fraction of the voxels, by 16 HU", xlim=_HISTOGRAM_HU)
    left.grid(color=GRID)
    left.legend(frameon=False)
    joint, _, _ = np.histogram2d(pair[0], pair[1], bins=[edges, edges])
    shown = right.pcolormesh(edges, edges, np.ma.masked_equal(joint.T, 0), norm=LogNorm(), cmap="viridis")
    right.plot(_HISTOGRAM_HU, _HISTOGRAM_HU, color=TEXT, linewidth=0.8, linestyle=":")
    right.set(xlabel="CT / HU", ylabel="synthetic CT / HU", aspect="equal")
    figure.colorbar(shown, ax=right, label="voxels")
    return figure
