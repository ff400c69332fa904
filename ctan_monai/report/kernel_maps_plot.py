"""Maps of the most certain kernels of each filter group, beside the image."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np

from ctan_monai.errors import DataError
from ctan_monai.report.canvas import TEXT, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAPS_WORDS = (
    "What the most certain kernels of each group (rows) answer in each layer (columns) to the image on the left, after"
    " normalization and activation; each map from its smallest value (dark) to its largest. Kernels are shown whose"
    " group has a probability p above 0.5."
)
_INCHES = 1.45


def kernel_maps_figure(path: Path) -> Figure:
    """Draw the maps of kernel_maps.npz: a row for each group, the shared one behind the first task's.

    Raises:
        DataError: the file is damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as found:
            image, maps, index = found["image"], found["maps"], json.loads(str(found["index"]))
        groups = _rows([entry["group"] for entry in index])
        layers = list(dict.fromkeys(entry["layer"] for entry in index))
        cells: dict[tuple[str, str], list[Any]] = {(group, layer): [] for group in groups for layer in layers}
        for entry, values in zip(index, maps, strict=True):
            cells[entry["group"], entry["layer"]].append((entry, values))
    except (OSError, ValueError, KeyError, TypeError, BadZipFile) as error:
        raise DataError(path, None, f"it holds no maps ({error}).", "Train again.") from error
    widths = [max(len(cells[group, layer]) for group in groups) for layer in layers]
    figure = new_figure(_INCHES * (1 + sum(widths)), (_INCHES + 0.25) * len(groups))
    panels = figure.subplots(len(groups), 1 + sum(widths), squeeze=False)
    for panel in panels.flatten():
        panel.axis("off")
    for row, group in enumerate(groups):
        panels[row][0].imshow(image, cmap="gray")
        panels[row][0].set_title(group, fontsize=9, color=TEXT, fontweight="bold")
        for at, layer in enumerate(layers):
            for place, (entry, values) in enumerate(cells[group, layer], start=1 + sum(widths[:at])):
                panels[row][place].imshow(values, cmap="viridis")
                words = f"{layer}, {entry['kernel']}\np {entry['probability']:.2f}"
                panels[row][place].set_title(words, fontsize=8, color=TEXT)
    return figure


def _rows(groups: list[Any]) -> list[str]:
    names = sorted({str(name) for name in groups} - {"shared"})
    return [*names[:1], *(["shared"] if "shared" in groups else []), *names[1:]]
