"""Colors that people with any color vision tell apart, and the maps for dose and its error."""

from __future__ import annotations

from collections.abc import Sequence

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
    """Give every name a color; after seven they repeat, so put their names beside the lines.

    >>> colors_of(["Brainstem", "Larynx"])
    {'Brainstem': '#56B4E9', 'Larynx': '#E69F00'}
    """
    return {name: COLORS[position % len(COLORS)] for position, name in enumerate(names)}
