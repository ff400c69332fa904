"""Datalists of a tabular dataset, as a bundle's config asks for them."""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from ctan_monai.aliases import current_value, takes_old_arguments
from ctan_monai.data.cases.cache import Header, read_header
from ctan_monai.data.datasets.tabular.cache import RowCache, tell_notes
from ctan_monai.data.datasets.tabular.layout import Layout, as_layout
from ctan_monai.data.datasets.tabular.rows import read_rows
from ctan_monai.data.datasets.tabular.splits import divide, divide_as_before, given_splits
from ctan_monai.data.datasets.tabular.synthetic import sample_table
from ctan_monai.data.lists.datalist import Item, check_slices, read_choice, refuse_empty
from ctan_monai.errors import ConfigError
from ctan_monai.tasks import Task, check_tasks

_logger = logging.getLogger(__name__)
_SLICES = ("labeled", "all")


@takes_old_arguments("data.tabular_datalist")
def tabular_datalist(
    datalist: str | Path | None,
    cache_dir: str | Path,
    tasks: Sequence[Task],
    image_channels: Sequence[str],
    dataset_dir: str | Path | None = None,
    sample: str = "ct",
    spatial_dims: int = 2,
    size: Sequence[int] | None = None,
    spacing_mm: Sequence[float] | None = None,
    axes: str = "RAS",
    label_values: Mapping[str, Mapping[str, int | Sequence[int]]] | None = None,
    slices: Literal["labeled", "all"] | None = None,
    empty_fraction: float = 0.0,
    split_fractions: Sequence[float] = (0.7, 0.1, 0.2),
    seed: int = 0,
    fold: int = 0,
    folds: int | None = None,
    split_as: str | Path | None = None,
    add_data: str | Path | None = None,
    required: Sequence[str] = ("train", "validation"),
    workers: int | None = None,
    on_error: Literal["raise", "skip"] = "raise",
    progress: bool = True,
) -> dict[str, list[Item]]:
    """List the cases of a table by split, caching them the first time.

    Splits are those of the table: its column ``split``, or ``fold`` (the fold with the number ``fold`` validates).
    Without them the cases are divided: those of one group, and those that hold the same image, stay together, and
    classes are spread evenly. A table with a training set and no validation set gets one from the training set.

    Args:
        datalist: CSV or JSON, see docs/tutorial-tabular-data.md; None for synthetic cases that are made on the spot.
        cache_dir: folder for the cached cases, and for the synthetic ones.
        tasks: what is predicted; their names and those of their labels are columns of the table.
        image_channels: names of the image's channels, columns too; or the column is ``image``.
        dataset_dir: folder that the table's paths start from; None for the table's own.
        sample: what the synthetic images are like: ct, mr, rgb or gray.
        spatial_dims: of the network.
        size: rows and columns that images are resized to.
        spacing_mm: voxel size that volumes are resampled to.
        axes: where each axis of a volume points.
        label_values: number of each label in label maps, or several that make a group.
        slices: None for one item per case; otherwise volumes of ``train`` become an item per slice: 'labeled' for
            slices in which a mask of the tasks has a voxel, or a value differs from that of the volume's corner (all
            slices of a case without such labels), 'all'.
        empty_fraction: other slices to add to the labeled, as a fraction of those.
        split_fractions: of training, validation and test, where the table does not divide.
        seed: of that split.
        fold: number of the fold to validate on; with ``folds``, of the one to test on.
        folds: cross-validation: all cases are dealt out to so many parts, those of the table's column ``fold`` where it
            has one, and ``split_fractions`` divide what is not the test set; its column ``split`` does not count.
        split_as: JSON file with the names of the cases of each split, as a run keeps it (`engines.write_datalist`):
            these stay where they were, whatever the table says now, and others are listed only if the table divides.
        add_data: an earlier run, whose cases keep their split while others are added, see `kept_cases`.
        required: splits that must not be empty.
        workers: processes that fill the cache; None for one per processor.
        on_error: 'skip' leaves out up to a tenth of the cases if they cannot be read.
        progress: show a bar while the cache is filled.

    Returns:
        Items ``{"case", "file"}`` by split, of which test may be empty.

    Raises:
        DataError: the table, or a case of it, cannot be used, or a required split is empty.
        ConfigError: an argument has an unknown value.
    """
    layout = as_layout(check_tasks(tasks), image_channels, spatial_dims, size, spacing_mm, axes, label_values)
    slices, sample = current_value(slices, "slices"), current_value(sample, "sample")
    _check_slices(slices, empty_fraction, layout)
    path, synthetic = find_table(datalist, dataset_dir, cache_dir, layout, sample)
    base = None if synthetic or not dataset_dir else str(dataset_dir)
    find_rows = functools.partial(read_rows, str(path), base, layout)
    cache = RowCache(Path(cache_dir) / "cases", find_rows, layout, str(path.resolve()))
    files = cache.prepare(
        [Path(case) for case in cache.rows], workers=0 if synthetic else workers, on_error=on_error, progress=progress
    )
    tell_notes(files)
    items = [{"case": source.name, "file": str(file)} for source, file in files.items()]
    if not synthetic:
        _logger.info("%d cases of %s, cached in %s", len(items), path, cache.cache_dir)
    rows = [cache.rows[item["case"]] for item in items]
    if split_as is not None and str(split_as):
        divided = divide_as_before(read_choice(split_as), items, given_splits(path, rows, fold))
    else:
        divided = divide(path, rows, items, layout, split_fractions, seed, fold, folds, add_data)
    _require(path, divided, required)
    if slices is not None:
        divided["train"] = _slice_items(divided["train"], layout, slices, empty_fraction)
    return divided


def is_synthetic(datalists: Mapping[str, Sequence[Item]]) -> bool:
    """Tell whether some of the cases of the lists are synthetic."""
    files = {item["file"] for items in datalists.values() for item in items}
    return any(read_header(file).meta.get("synthetic", False) for file in sorted(files))


def find_table(
    datalist: str | Path | None, dataset_dir: str | Path | None, cache_dir: str | Path, layout: Layout, sample: str
) -> tuple[Path, bool]:
    """Return the table that a config's options name, and whether it is synthetic.

    Raises:
        ConfigError: a folder was given without a table.
        DataError: the synthetic cases cannot be written.
    """
    if datalist is not None and str(datalist):
        return Path(str(datalist)), False
    if dataset_dir is not None and str(dataset_dir):
        raise ConfigError("datalist", "a dataset_dir was given, but no table.", "Give --datalist FILE.csv too.")
    return sample_table(cache_dir, layout, sample), True


def _check_slices(slices: str | None, empty_fraction: float, layout: Layout) -> None:
    check_slices(slices, empty_fraction, _SLICES)
    if slices is not None and layout.axes[-1] in "RL" and any(task.mirror_pairs for task in layout.segmentations):
        reason = f"{layout.axes!r} cuts slices that have no left and right, but labels have."
        raise ConfigError("axes", reason, "Let the last axis point to A, P, S or I.")


def _require(path: Path, divided: Mapping[str, Sequence[Item]], required: Sequence[str]) -> None:
    remedy = "Give these splits cases, other split fractions, or leave the split to this program."
    refuse_empty(path, divided, "case", remedy, required)
    if not divided["test"]:
        _logger.warning("%s has no test set: there will be nothing to evaluate on", path)


def _slice_items(
    items: Sequence[Item], layout: Layout, slices: Literal["labeled", "all"], empty_fraction: float
) -> list[Item]:
    found: list[Item] = []
    for item in items:
        header = read_header(item["file"])
        if len(header.shape) < 3:
            found.append(item)
        else:
            found += [{**item, "slice": index} for index in _slices_of(header, layout, slices, empty_fraction)]
    return found


def _slices_of(header: Header, layout: Layout, slices: str, empty_fraction: float) -> list[int]:
    names = [label for task in layout.segmentations for label in task.labels]
    names += [task.name for task in layout.voxel_regressions]
    used = {index for name in names for index in header.slices_with(name)}
    everything = range(header.shape[-1])
    if slices == "all" or not used:
        return list(everything)
    others = [index for index in everything if index not in used]
    count = round(empty_fraction * len(used))
    step = max(len(others) / count, 1.0) if count else 1.0
    added = {others[int(at * step)] for at in range(min(count, len(others)))}
    return sorted(used | added)
