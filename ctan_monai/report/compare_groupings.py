"""Filter groups over the rows and seeds of a comparison."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from ctan_monai.engines.predictions.kernel_maps import MAPS_FILE
from ctan_monai.report.canvas import save_figure
from ctan_monai.report.compare_files import ComparedRow, Comparison
from ctan_monai.report.groupings_plot import group_order, groupings_by_epoch, groupings_figure, last_groupings
from ctan_monai.report.html import Entry, Section, Table
from ctan_monai.report.kernel_maps_plot import MAPS_WORDS, kernel_maps_figure

HEADING = "Filter groups"
_WORDS = (
    "After the last epoch: probability of each group, mean over the kernels of a layer and over seeds [lowest, highest"
    " seed], and the entropy of a kernel's probabilities in nats, mean over the layer and over seeds. Each run's page"
    " has its own; groupings.csv in its folder has every kernel's."
)


def groupings_section(comparison: Comparison) -> Section | None:
    """Tabulate which filters serve which task, of the rows whose networks have groups; None where there are none.

    Args:
        comparison: its files.
    """
    rows = _grouped(comparison)
    if not rows:
        return None
    names = group_order(last_groupings(rows[0].trainings[0].history))
    lines = [line for row in rows for line in _lines(row, names)]
    return Section(HEADING, [_WORDS], [Table(("row", "layer", *names, "entropy / nats"), lines, dense=True)])


def groupings_images(comparison: Comparison, folder: Path) -> list[tuple[Path, str]]:
    """Draw the groups of each row that learns them, mean over its seeds, and return the files with their words.

    Args:
        comparison: its files.
        folder: gets ``groupings-<row>.png`` and, of the first seed, ``kernel_maps-<row>.png``.

    Raises:
        DataError: an image cannot be written.
    """
    drawn = []
    for row in _grouped(comparison):
        found = list(groupings_by_epoch([training.history for training in row.trainings]).values())
        if any(found[0][layer]["entropy"] != entry["entropy"] for layer, entry in found[-1].items()):
            figure = groupings_figure(*(training.history for training in row.trainings))
            words = f"{row.name}: groups of filters by layer and over epochs, mean over {len(row.runs)} seeds"
            drawn.append((save_figure(figure, folder / f"groupings-{row.name}.png"), words))
            maps = comparison.folder / row.trainings[0].folder / "run" / "predictions" / MAPS_FILE
            if maps.is_file():
                words = f"{row.name}, {row.trainings[0].name}. {MAPS_WORDS}"
                drawn.append((save_figure(kernel_maps_figure(maps), folder / f"kernel_maps-{row.name}.png"), words))
    return drawn


def _grouped(comparison: Comparison) -> list[ComparedRow]:
    return [row for row in comparison.rows if last_groupings(*(training.history for training in row.trainings))]


def _lines(row: ComparedRow, names: Sequence[str]) -> list[list[Entry]]:
    """Return a line for each layer of a row's networks."""
    seeds = [last_groupings(training.history) for training in row.trainings]
    lines: list[list[Entry]] = []
    for layer in seeds[0]:
        cells: list[Entry] = [row.name, layer]
        for name in names:
            values = [found[layer]["mean"][name] for found in seeds]
            span = f" [{min(values):.3f}, {max(values):.3f}]" if len(values) > 1 else ""
            cells.append(f"{fmean(values):.3f}{span}")
        lines.append([*cells, f"{fmean(found[layer]['entropy'] for found in seeds):.3f}"])
    return lines
