"""Figures without pyplot: nothing global, so images can be drawn in any thread and beside any other figure."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ctan_monai.files.atomic import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DOTS_PER_INCH = 120


def new_figure(width_inches: float, height_inches: float, arrange: bool = True) -> Figure:
    """Make an empty white figure; ``arrange`` lets matplotlib place its parts without overlap."""
    from matplotlib.figure import Figure

    size = (width_inches, height_inches)
    return Figure(size, DOTS_PER_INCH, layout="constrained" if arrange else None, facecolor="white")


def png_of(figure: Figure, dots_per_inch: int = DOTS_PER_INCH) -> bytes:
    """Return a figure as PNG, for a page that holds its images; the same figure gives the same bytes."""
    from io import BytesIO

    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=dots_per_inch, metadata={"Software": None})
    return buffer.getvalue()


def save_figure(figure: Figure, path: str | Path) -> Path:
    """Write a PNG whole or not at all; the same figure gives the same bytes.

    Raises:
        DataError: the file cannot be written.
    """
    path = Path(path)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", metadata={"Software": None})
    return path
