"""Datalists of images for inference."""

from __future__ import annotations

import functools
import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from ctan_monai.aliases import current_value
from ctan_monai.data.cases.case import check_case_id
from ctan_monai.data.datasets.tabular.cache import RowCache, tell_notes
from ctan_monai.data.datasets.tabular.files import IMAGE_SUFFIXES
from ctan_monai.data.datasets.tabular.layout import Layout, as_layout
from ctan_monai.data.datasets.tabular.rows import Row, read_rows, without_labels
from ctan_monai.data.datasets.tabular.synthetic import sample_table
from ctan_monai.data.lists.datalist import Item
from ctan_monai.data.lists.table import TABLE_SUFFIXES
from ctan_monai.errors import DataError
from ctan_monai.files.duplicates import check_ids
from ctan_monai.tasks import Task, check_tasks

_logger = logging.getLogger(__name__)
_SHOWN = 4  # synthetic cases that stand for a user's


def tabular_inference_list(
    source: str | Path | None,
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
    progress: bool = True,
) -> list[Item]:
    """List images for inference, caching them.

    Args:
        source: an image, a folder of images, or a table as for training, whose labels are not needed. Where the image
            has several files, the folder holds ``<case>_<channel>.<ending>`` or ``<case>/<channel>.<ending>``. None
            for a few of the synthetic cases.
        cache_dir: folder for the cached cases.
        tasks: those of the network; they decide what the synthetic cases are like, and nothing else.
        image_channels: as in training.
        dataset_dir: folder that a table's paths start from.
        sample: as in training.
        spatial_dims: as in training.
        size: as in training.
        spacing_mm: as in training.
        axes: as in training.
        label_values: as in training; for the synthetic cases only.
        progress: show a bar while the cache is filled.

    Returns:
        Items ``{"case", "file"}``; a case is called like its file.

    Raises:
        DataError: there is no image, two have one name, or one cannot be read.
        ConfigError: an argument has an unknown value.
    """
    find_rows: functools.partial[list[Row]]
    if source is None or str(source) == "":
        wanted = as_layout(check_tasks(tasks), image_channels, spatial_dims, size, spacing_mm, axes, label_values)
        place = sample_table(cache_dir, wanted, current_value(sample, "sample"))
        find_rows = functools.partial(_rows_of_table, str(place), None, wanted, _SHOWN)
    else:
        wanted = as_layout((), image_channels, spatial_dims, size, spacing_mm, axes)
        place = Path(str(source))
        if place.is_file() and place.suffix.lower() in TABLE_SUFFIXES:
            base = str(dataset_dir) if dataset_dir and str(dataset_dir) != str(source) else None
            find_rows = functools.partial(_rows_of_table, str(place), base, wanted, None)
        else:
            find_rows = functools.partial(find_images, str(place), wanted)
    cache = RowCache(Path(cache_dir) / "inference", find_rows, wanted, str(place.resolve()))
    files = cache.prepare([Path(case) for case in cache.rows], progress=progress)
    tell_notes(files)
    return [{"case": source.name, "file": str(file)} for source, file in files.items()]


def find_images(source: str | Path, layout: Layout) -> list[Row]:
    """Find the images of a folder, or one image.

    Raises:
        DataError: there is none, two have one name, or a channel is missing.
    """
    root = Path(source)
    single = layout.color or len(layout.image_channels) == 1
    files = [root] if root.is_file() else sorted(root.glob("[!.]*")) + ([] if single else sorted(root.glob("*/[!.]*")))
    images = [path for path in files if path.name.lower().endswith(IMAGE_SUFFIXES) and path.is_file()]
    if not images:
        reason = f"no image was found; looked for a file, or files in a folder, that end in one of {IMAGE_SUFFIXES}."
        raise DataError(root, None, reason, "Check the path.")
    if single or (root.is_file() and len(layout.image_channels) > 1):
        check_ids({path: _stem(path) for path in images})
        return [_row(_stem(path), [path]) for path in images]
    return _with_channels(root, images, layout)


def _with_channels(root: Path, images: Sequence[Path], layout: Layout) -> list[Row]:
    cases: dict[str, dict[str, Path]] = {}
    for path in images:
        stem, inside = _stem(path), path.parent != root
        for channel in layout.image_channels:
            if inside and stem == channel:
                case = path.parent.name
            elif not inside and stem.endswith(f"_{channel}"):
                case = stem.removesuffix(f"_{channel}")
            else:
                continue
            other = cases.setdefault(case, {}).setdefault(channel, path)
            if other != path:
                reason = f"{other.relative_to(root)} and {path.relative_to(root)} would both be its {channel}."
                raise DataError(root, case, reason, "Rename one of them, or move it away.")
    if not cases:
        reason = f"no image of the channels {', '.join(layout.image_channels)} was found."
        raise DataError(root, None, reason, "Name files <case>_<channel>.nii.gz or <case>/<channel>.nii.gz.")
    check_ids({root / case: case for case in cases})
    for case, found in cases.items():
        missing = [channel for channel in layout.image_channels if channel not in found]
        if missing:
            raise DataError(root, case, f"there is no file for {', '.join(missing)}.", "Add it, or move the case away.")
    return [_row(case, [found[channel] for channel in layout.image_channels]) for case, found in cases.items()]


def _rows_of_table(path: str, dataset_dir: str | None, layout: Layout, most: int | None) -> list[Row]:
    rows: Mapping[str, Row] = {row.case: row for row in read_rows(path, dataset_dir, layout, labels_needed=False)}
    found = without_labels(list(rows.values()))
    if most is not None:
        found = [row for row in found if row.split == "test"][:most]
    return found


def _row(case: str, images: Sequence[Path]) -> Row:
    return Row(str(images[0]), check_case_id(case), None, None, None, tuple(images), {}, {}, {}, {})


def _stem(path: Path) -> str:
    """Return a file's name without ending, made fit for names of results."""
    ending = next(suffix for suffix in IMAGE_SUFFIXES if path.name.lower().endswith(suffix))
    return re.sub(r"[^A-Za-z0-9._-]", "_", path.name[: -len(ending)])[:64]
