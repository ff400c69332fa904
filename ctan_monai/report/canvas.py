"""Matplotlib figures without pyplot's global state, for any thread; colors of tasks and labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ctan_monai.files.atomic import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DOTS_PER_INCH = 120
# Okabe and Ito's palette (Nature Methods 8, 441, 2011) without black, in an order that keeps neighbors apart.
COLORS = ("#56B4E9", "#E69F00", "#009E73", "#F0E442", "#CC79A7", "#0072B2", "#D55E00")
ON_WHITE = {"#F0E442": "#B3A100", "#56B4E9": "#3A93CB"}  # darker twins of what is too pale for lines on white
TARGETS_ON_WHITE = ("#000000", "#5C5C5C", "#9A9A9A")
TARGET = "#FFFFFF"
GRID = "#D9D9D9"
TEXT = "#1A1A1A"
UNDER_COLORS = "#5A5A5A"  # gray behind the color bars: what half-transparent colors lie over, about
DOSE_MAP = "plasma"
# Prediction too low: blue; too high: orange; nothing where they agree, so that the image shows through.
ERROR_MAP = ((0.10, 0.45, 1.00, 1.0), (0.25, 0.60, 1.00, 0.0), (1.00, 0.60, 0.25, 0.0), (1.00, 0.35, 0.00, 1.0))


def colors_of(names: Sequence[str]) -> dict[str, str]:
    """Assign a color to every name; colors repeat after seven.

    >>> colors_of(["Brainstem", "Larynx"])
    {'Brainstem': '#56B4E9', 'Larynx': '#E69F00'}
    """
    return {name: COLORS[position % len(COLORS)] for position, name in enumerate(names)}


def line_color(index: int) -> str:
    """Return the color of a line on white by its number; colors repeat after seven."""
    color = COLORS[index % len(COLORS)]
    return ON_WHITE.get(color, color)


def new_figure(width_inches: float, height_inches: float, arrange: bool = True) -> Figure:
    """Create an empty white figure; ``arrange`` uses matplotlib's constrained layout."""
    from matplotlib.figure import Figure

    size = (width_inches, height_inches)
    return Figure(size, DOTS_PER_INCH, layout="constrained" if arrange else None, facecolor="white")


def panels_in_rows(count: int, columns: int, width: float, height: float, **how: Any) -> tuple[Figure, list[Axes]]:
    """Create a figure of panels, each of a width and height in inches.

    Args:
        count: how many.
        columns: at most so many in a row.
        width: of a panel.
        height: of a panel.
        **how: see `Figure.subplots`.
    """
    columns = min(columns, count)
    rows = -(-count // columns)
    figure = new_figure(width * columns, height * rows)
    panels = list(figure.subplots(rows, columns, squeeze=False, **how).flatten())
    for panel in panels[count:]:
        panel.set_visible(False)
    return figure, panels[:count]


def finish_panel(panel: Axes, title: str, label: str, grid: Literal["both", "x", "y"] = "both") -> None:
    """Give a panel its title, the label of its x axis, a grid, and no frame above and on the right."""
    panel.set_title(title, fontsize=10, color=TEXT, loc="left")
    panel.set_xlabel(label, fontsize=9, color=TEXT)
    panel.grid(axis=grid, color=GRID, linewidth=0.7)
    panel.spines[["top", "right"]].set_visible(False)


def png_of(figure: Figure, dots_per_inch: int = DOTS_PER_INCH) -> bytes:
    """Render a figure to PNG bytes, reproducibly, for pages with embedded images."""
    from io import BytesIO

    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=dots_per_inch, metadata={"Software": None})
    return buffer.getvalue()


def save_figure(figure: Figure, path: str | Path) -> Path:
    """Save a figure as PNG, atomically and reproducibly.

    Raises:
        DataError: the file cannot be written.
    """
    path = Path(path)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", metadata={"Software": None})
    return path
