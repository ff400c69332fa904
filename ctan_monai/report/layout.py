"""The view of a case, and the layout of an overlay's panels."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ctan_monai.metrics.goals import Plan
from ctan_monai.report.canvas import TEXT, new_figure
from ctan_monai.report.planes import Plane

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = NDArray[Any]
Box = tuple[float, float, float, float]  # left, right, bottom, top in mm; bottom is the larger number
_SIDE, _GAP = 3.5, 0.06  # inches: three rows of three make about 1,430 x 1,500 pixels
_HEAD, _FOOT, _LEFT, _RIGHT = 0.72, 0.75, 0.42, 0.95
_LINE, _LETTERS_PER_INCH = 0.2, 12.5  # of text of 10 points
_MARGIN_MM, _SMALLEST_MM = 10.0, 60.0


@dataclass(frozen=True)
class CaseView:
    """Arrays to draw of one case, on one grid (*S) with three axes.

    Args:
        case: id, for the title.
        image: (*S) gray values, CT in HU.
        affine_ras: (4, 4) voxel -> RAS mm.
        reference: masks by name; a structure that is unknown is absent.
        predicted: masks by name.
        dose_reference: (*S) in ``dose_unit``, None where it is unknown.
        dose_predicted: (*S) in ``dose_unit``, None if no task predicts one.
        dose_unit: its unit; HU for a CT, which stands in the dose's place.
        targets: names of reference structures that are drawn in white, the contours that a plan aims at.
        dose_region: (*S) where the reference dose is known, None for everywhere; what it means for a predicted dose
            of a case without a plan is nothing.
        plan: prescription and dose per fraction, as far as they are known.
        synthetic: whether the case was computed rather than imaged.
    """

    case: str
    image: Array
    affine_ras: Array
    reference: Mapping[str, Array] = field(default_factory=dict)
    predicted: Mapping[str, Array] = field(default_factory=dict)
    dose_reference: Array | None = None
    dose_predicted: Array | None = None
    dose_unit: str = "Gy"
    targets: Sequence[str] = ()
    dose_region: Array | None = None
    plan: Plan = field(default_factory=Plan)
    synthetic: bool = False

    @property
    def names(self) -> list[str]:
        """Structures to draw, each once, predicted ones first, targets left out."""
        return [name for name in dict.fromkeys([*self.predicted, *self.reference]) if name not in self.targets]

    @property
    def targets_here(self) -> list[str]:
        """Targets that are contoured or predicted."""
        return [name for name in self.targets if name in self.reference or name in self.predicted]


@dataclass(frozen=True)
class Layout:
    """Layout of panels and color bars.

    Args:
        rows: number of rows.
        columns: number of panels in a row.
        lines: of text under the title.
    """

    rows: int
    columns: int
    lines: int = 2

    @property
    def size_inches(self) -> tuple[float, float]:
        """Width and height of the figure."""
        width = _LEFT + self.columns * (_SIDE + _GAP) - _GAP + _RIGHT
        return width, _HEAD + self.lines * _LINE + self.rows * (_SIDE + _GAP) - _GAP + _FOOT

    @property
    def letters(self) -> int:
        """Number of characters of 10 points per line under the title."""
        return int(_LETTERS_PER_INCH * self.size_inches[0])

    def panel(self, row: int, column: int) -> tuple[float, float, float, float]:
        """Return left, bottom, width and height of a panel as fractions of the figure."""
        width, height = self.size_inches
        return (_LEFT + column * (_SIDE + _GAP)) / width, self._bottom(row) / height, _SIDE / width, _SIDE / height

    def bar(self, row: int) -> tuple[float, float, float, float]:
        """Return the place of a row's color bar."""
        width, height = self.size_inches
        bottom = self._bottom(row) + 0.06 * _SIDE
        return 1 - (_RIGHT - 0.12) / width, bottom / height, 0.16 / width, 0.88 * _SIDE / height

    def from_top(self, inches: float) -> float:
        """Return a height as a fraction of the figure."""
        return 1 - inches / self.size_inches[1]

    def _bottom(self, row: int) -> float:
        return _FOOT + (self.rows - 1 - row) * (_SIDE + _GAP)


def titled_figure(case: str, layout: Layout, subtitle: str, last: str) -> tuple[Figure, Layout]:
    """Create a figure with the case and lines of text above its panels; return it and the layout with room for them.

    Args:
        case: the title.
        layout: of the panels.
        subtitle: wrapped to the figure's width.
        last: the last line.
    """
    lines = [*textwrap.wrap(subtitle, layout.letters), last]
    layout = replace(layout, lines=len(lines))
    figure = new_figure(*layout.size_inches, arrange=False)
    figure.text(0.02, layout.from_top(0.14), case, fontsize=15, fontweight="bold", color=TEXT, va="top")
    figure.text(0.02, layout.from_top(0.42), "\n".join(lines), fontsize=10, color=TEXT, va="top", linespacing=1.4)
    return figure, layout


def frame(plane: Plane, bright: NDArray[Any], square: bool = True) -> Box:
    """Return the bounding box of a plane's foreground, with a margin.

    Args:
        plane: plane of the reoriented volume.
        bright: (*S) mask over the reoriented volume of what is worth showing; all of the plane if nothing is.
        square: frame it by a square, else by a rectangle.
    """
    seen = plane.cut(bright)  # (rows, columns)
    if not seen.any():
        seen = np.ones_like(seen)
    spans = [_span(np.nonzero(seen.any(axis=axis))[0], step) for axis, step in enumerate(plane.spacing_mm)]
    halves = [max(_SMALLEST_MM, last - first) / 2 + _MARGIN_MM for first, last in spans]
    if square:
        halves = [max(halves)] * 2
    (x_mm, y_mm) = (sum(span) / 2 for span in spans)
    return x_mm - halves[0], x_mm + halves[0], y_mm + halves[1], y_mm - halves[1]


def _span(places: NDArray[Any], step_mm: float) -> tuple[float, float]:
    return float(places[0] * step_mm), float((places[-1] + 1) * step_mm)
