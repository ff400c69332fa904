"""Find the columns of a table, and detect misspelled names."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ctan_monai.data.datasets.tabular.layout import ABOUT, IMAGE, LABEL, Layout
from ctan_monai.data.lists.table import Table
from ctan_monai.errors import DataError
from ctan_monai.tasks import Segmentation, region_key

_logger = logging.getLogger(__name__)
_ALIKE = 0.8  # difflib's ratio: 'splits' and 'split' have 0.91, 'base' and 'case' 0.75
_GUESS = 0.6
GROUP = ("group", "patient")


@dataclass(frozen=True)
class Columns:
    """Columns of a table by role.

    Args:
        one_image: the image is in the column ``image``, instead of a column per channel.
        group: columns that name the group.
        masks: by label or region, the column of its mask.
        maps: by segmentation task, the column of its label map.
        volumes: by voxel-level regression, its column.
    """

    one_image: bool
    group: tuple[str, ...]
    masks: Mapping[str, str]
    maps: Mapping[str, str]
    volumes: Mapping[str, str]


def find_columns(table: Table, layout: Layout, labels_needed: bool) -> Columns:
    """Find the columns.

    Raises:
        DataError: the image's or a task's columns are missing, or a column looks like a misspelt one.
    """
    have = table.columns
    one_image = IMAGE in have
    if not one_image:
        _require(table, layout.image_channels, [] if len(layout.image_channels) > 1 else [IMAGE])
    masks: dict[str, str] = {}
    maps: dict[str, str] = {}
    for task in layout.segmentations:
        column = _map_column(task, layout, have)
        if column and len(task.labels) == 1 and not layout.grouped(task):
            masks[task.labels[0]] = column  # of one label a map and a mask are the same, and a mask may hold 255
        elif column:
            maps[task.name] = column
        masks.update({label: label for label in task.labels if label in have and label != column})
        if not column and labels_needed:
            _require(table, task.labels, [] if task.name in task.labels else [task.name])
    regressions = layout.voxel_regressions
    masks.update({name: name for name in map(region_key, layout.in_regions) if name in have})
    if labels_needed:
        for name in [task.name for task in (*regressions, *layout.image_level)]:
            _require(table, [name], [])
        _require(table, [region_key(task) for task in layout.in_regions], [])
    volumes = {task.name: task.name for task in regressions if task.name in have}
    values = [task.name for task in layout.image_level]
    used = {IMAGE, *ABOUT, *GROUP, *layout.image_channels, *masks.values(), *maps.values(), *volumes, *values}
    _check_strangers(table, [name for name in have if name not in used])
    return Columns(one_image, tuple(name for name in GROUP if name in have), masks, maps, volumes)


def _map_column(task: Segmentation, layout: Layout, have: Sequence[str]) -> str:
    """Return the column with a task's label maps, '' if there is none."""
    if task.name in have and (layout.grouped(task) or task.name not in task.labels):
        return task.name
    only = len(layout.segmentations) == 1 and not set(task.labels) & set(have)
    return LABEL if LABEL in have and only else ""


def _require(table: Table, names: Sequence[str], instead: Sequence[str]) -> None:
    missing = [name for name in names if name not in table.columns]
    if not missing:
        return
    guesses = [(_likeness(name, column), name, column) for name in (*missing, *instead) for column in table.columns]
    best = max(guesses, default=(0.0, "", ""))
    guess = f" Did you mean {best[1]!r} by {best[2]!r}?" if best[0] >= _GUESS else ""
    others = f" (or {', '.join(instead)})" if instead else ""
    reason = f"there is no column {', '.join(missing)}{others}; it has {', '.join(table.columns)}.{guess}"
    raise DataError(table.path, None, reason, "Correct the header, or add the column; its cells may be empty.")


def _likeness(name: str, column: str) -> float:
    return difflib.SequenceMatcher(None, name.lower(), column.lower()).ratio()


def _check_strangers(table: Table, strangers: Sequence[str]) -> None:
    """Refuse columns that look misspelled, and log unused ones."""
    optional = [name for name in (*ABOUT, *GROUP) if name not in table.columns]
    for name in strangers:
        alike = difflib.get_close_matches(name.lower(), optional, n=1, cutoff=_ALIKE)
        if alike:
            reason = f"the column {name!r} is unknown; did you mean {alike[0]!r}?"
            raise DataError(table.path, None, reason, "Correct the header, or rename the column.")
    if strangers:
        _logger.info("%s: columns that are not used: %s", table.path, ", ".join(strangers))
