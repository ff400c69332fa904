"""The confusion matrix as an image: counts, colored by the fraction of each true class."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ctan_monai.errors import DataError
from ctan_monai.report.canvas import TEXT, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DARK = 0.55  # shares above this are drawn in white


def confusion_figure(path: str | Path) -> Figure:
    """Draw a table of `WriteConfusion`.

    Raises:
        DataError: it cannot be read, or is no square table of numbers.
    """
    names, counts = _read(Path(path))
    totals = np.maximum(counts.sum(1, keepdims=True), 1)
    shares = counts / totals
    side = 1.8 + 0.62 * len(names)
    figure = new_figure(side + 0.6, side)
    panel = figure.subplots()
    panel.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row in range(len(names)):
        for column in range(len(names)):
            color = "white" if shares[row, column] > _DARK else TEXT
            panel.text(column, row, str(counts[row, column]), ha="center", va="center", color=color, fontsize=10)
    panel.set_xticks(range(len(names)), names, rotation=45, ha="right", fontsize=9)
    panel.set_yticks(range(len(names)), names, fontsize=9)
    panel.set_xlabel("answer", fontsize=10, color=TEXT)
    panel.set_ylabel("truth", fontsize=10, color=TEXT)
    panel.set_title("Cases; the darker, the larger the fraction of the true class", fontsize=10, color=TEXT, loc="left")
    panel.spines[:].set_visible(False)
    return figure


def _read(path: Path) -> tuple[list[str], np.ndarray[tuple[int, ...], np.dtype[np.int64]]]:
    try:
        head, *rows = list(csv.reader(path.read_text(encoding="utf-8").splitlines()))
        counts = np.array([[int(cell) for cell in row[1:]] for row in rows], np.int64)
        if counts.shape != (len(head) - 1, len(head) - 1):
            raise ValueError(f"its shape is {counts.shape}")
    except (OSError, ValueError) as error:
        raise DataError(path, None, f"it is no confusion matrix ({error}).", "Evaluate again.") from error
    return head[1:], counts
