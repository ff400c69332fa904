"""Contents of one panel: gray values, orientation, dose or its error, contours."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ctan_monai.report.canvas import DOSE_MAP, ERROR_MAP
from ctan_monai.report.layout import Box
from ctan_monai.report.planes import Plane

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

Array = NDArray[Any]
Style = tuple[float, tuple[float, ...]]  # offset and lengths of strokes and gaps
SOLID: Style = (0, ())
DASHED: Style = (0, (2.2, 1.1))
_COLD_SHARE = 0.1  # doses under this fraction of the highest one are not colored, so that the image can be seen
DOSE_ALPHA = 0.55
_DIM = 0.35  # under colors the image is this much darker, so that bone is not taken for a color
_BANDS = 14
_TOP_COLOR = 0.95  # the last yellow of the map turns olive over gray


def draw_gray(panel: Axes, plane: Plane, box: Box, image: Array, window: tuple[float, float], dim: bool) -> None:
    """Draw the image of a plane with its orientation letters, and a scale bar of 5 cm."""
    lower, upper = window
    brightest = upper + (upper - lower) * _DIM / (1 - _DIM) if dim else upper
    panel.imshow(
        plane.cut(image),
        cmap="gray",
        vmin=lower,
        vmax=brightest,
        extent=plane.extent_mm(image),
        interpolation="bilinear",
    )
    panel.set(facecolor="black", xlim=box[:2], ylim=box[2:], xticks=[], yticks=[], aspect="auto")
    panel.spines[:].set_visible(False)
    left, right, top, bottom = plane.letters
    for letter, x, y in ((left, 0.03, 0.5), (right, 0.97, 0.5), (top, 0.5, 0.965), (bottom, 0.5, 0.035)):
        panel.text(
            x, y, letter, color="white", fontsize=10, ha="center", va="center", transform=panel.transAxes, zorder=5
        )
    share = (box[1] - box[0]) / 100  # 1 % of the panel
    x_mm, y_mm = box[0] + 3 * share, box[2] - 3 * share
    panel.plot([x_mm, x_mm + 50], [y_mm, y_mm], color="white", linewidth=2)
    panel.text(x_mm + 25, y_mm - share, "5 cm", color="white", fontsize=9, ha="center", va="bottom")


def draw_dose(panel: Axes, plane: Plane, dose: Array, highest: float) -> AxesImage:
    """Draw the dose in bands, from 10 % of the maximum dose."""
    from matplotlib import colormaps
    from matplotlib.colors import BoundaryNorm, ListedColormap

    colors = ListedColormap(colormaps[DOSE_MAP](np.linspace(0.0, _TOP_COLOR, _BANDS)))
    bounds = np.linspace(_COLD_SHARE * highest, highest, _BANDS + 1)
    cut = np.ma.masked_less(plane.cut(dose), _COLD_SHARE * highest)
    norm = BoundaryNorm(bounds, _BANDS, clip=True)
    return panel.imshow(
        cut, cmap=colors, norm=norm, extent=plane.extent_mm(dose), alpha=DOSE_ALPHA, interpolation="nearest"
    )


def draw_error(panel: Axes, plane: Plane, error: Array, widest: float) -> AxesImage:
    """Draw an error with opacity that grows with its magnitude."""
    from matplotlib.colors import LinearSegmentedColormap

    low, low_end, high_end, high = ERROR_MAP
    shades = [(0.0, low), (0.5, low_end), (0.5, high_end), (1.0, high)]
    return panel.imshow(
        plane.cut(error),
        cmap=LinearSegmentedColormap.from_list("error", shades),
        vmin=-widest,
        vmax=widest,
        extent=plane.extent_mm(error),
        interpolation="nearest",
    )


def draw_contours(
    panel: Axes,
    plane: Plane,
    masks: Mapping[str, Array],
    colors: Mapping[str, str],
    style: Style,
    thin: Collection[str] = (),
) -> None:
    """Draw the outline of each mask that the plane crosses, along the edges between voxel centers."""
    from matplotlib.patheffects import withStroke

    for name, mask in masks.items():
        cut = np.pad(plane.cut(mask).astype(float), 1)  # a mask that touches the border is closed there
        if not cut.any():
            continue
        x_mm, y_mm = (
            (np.arange(size) - 0.5) * step for size, step in zip(cut.shape[::-1], plane.spacing_mm, strict=True)
        )
        width = 0.9 if name in thin else 1.4
        lines = panel.contour(x_mm, y_mm, cut, levels=[0.5], colors=colors[name], linewidths=width, linestyles=[style])
        lines.set_path_effects([withStroke(linewidth=width + 1.2, foreground="black", alpha=0.6)])
