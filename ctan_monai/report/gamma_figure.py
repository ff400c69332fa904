"""Plots of gamma on one plane."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ctan_monai.metrics.gamma import PLANE_HIGHEST, Gamma, gamma_plane
from ctan_monai.report.canvas import TARGET, TEXT, UNDER_COLORS, colors_of, new_figure
from ctan_monai.report.dose_results import spacing_mm
from ctan_monai.report.layout import CaseView, frame
from ctan_monai.report.overlay import CT_WINDOW_HU
from ctan_monai.report.panels import SOLID, draw_contours, draw_gray
from ctan_monai.report.plan_figure import point_of
from ctan_monai.report.planes import planes_through, reorient_lpi

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = NDArray[Any]
_WIDTH, _LEFT, _TOP, _BOTTOM = 5.6, 0.1, 0.4, 0.7  # inches
# Passing voxels are pale, so that the image shows through; failing ones run from orange to dark red.
_COLORS = ((0.0, "#2C7FB800"), (0.5, "#2C7FB899"), (0.5, "#FDAE6B"), (1.0, "#7F0000"))


def gamma_figure(view: CaseView, options: Gamma) -> Figure:
    """Plot gamma of the first criterion on the axial plane through `plan_figure.point_of`.

    Args:
        view: a case with planned and predicted dose.
        options: how gamma is computed.

    Raises:
        DataError: there is no planned dose.
        ConfigError: pymedphys is not installed.
    """
    from matplotlib.colors import LinearSegmentedColormap

    point, _ = point_of(view)
    plane = planes_through(point, view.image.shape, view.affine_ras)[0]
    gamma = reorient_lpi(_volume(view, _axial_axis(view), point, options), view.affine_ras)
    image = reorient_lpi(view.image, view.affine_ras)
    box = frame(plane, image > CT_WINDOW_HU[0], square=False)
    side = _WIDTH * (box[2] - box[3]) / (box[1] - box[0])
    width, height = _WIDTH + 2 * _LEFT, side + _TOP + _BOTTOM
    figure = new_figure(width, height, arrange=False)
    panel = figure.add_axes((_LEFT / width, _BOTTOM / height, _WIDTH / width, side / height))
    draw_gray(panel, plane, box, image, CT_WINDOW_HU, dim=True)
    colors = LinearSegmentedColormap.from_list("gamma", _COLORS)
    cut = np.ma.masked_invalid(plane.cut(gamma))
    extent = plane.extent_mm(gamma)
    shown = panel.imshow(cut, cmap=colors, vmin=0, vmax=PLANE_HIGHEST, extent=extent, interpolation="nearest")
    contours = {name: reorient_lpi(mask, view.affine_ras) for name, mask in view.reference.items()}
    lines = {**colors_of(view.names), **dict.fromkeys(view.targets, TARGET)}
    draw_contours(panel, plane, contours, lines, SOLID)
    dose_percent, distance_mm = options.criteria[0]
    title = f"Gamma {dose_percent:g} %/{distance_mm:g} mm, axial plane; orange to red: fails"
    panel.set_title(title, fontsize=11, color=TEXT, loc="left")
    place = figure.add_axes((0.1, (_BOTTOM - 0.22) / height, 0.8, 0.14 / height), facecolor=UNDER_COLORS)
    bar = figure.colorbar(shown, cax=place, orientation="horizontal", extend="max")
    bar.set_label("gamma (no unit)", fontsize=10, color=TEXT)
    bar.ax.tick_params(labelsize=9)
    return figure


def _axial_axis(view: CaseView) -> int:
    """Return the array's axis that is closest to the craniocaudal direction."""
    from nibabel.orientations import io_orientation

    return [int(axis) for axis, _ in io_orientation(view.affine_ras)].index(2)


def _volume(view: CaseView, axis: int, point: tuple[int, int, int], options: Gamma) -> Array:
    """Embed gamma of the plane in a volume of nan."""
    volume = np.full(view.image.shape, np.nan)
    if view.dose_reference is None or view.dose_predicted is None:
        return volume
    where: list[slice] = [slice(None)] * 3
    where[axis] = slice(point[axis], point[axis] + 1)
    volume[tuple(where)] = gamma_plane(
        view.dose_reference,
        view.dose_predicted,
        spacing_mm(view),
        axis,
        point[axis],
        view.dose_region,
        options.criteria[0],
        options,
    )
    return volume
