"""Splits of a table's cases."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from ctan_monai.data.cases.cache import read_header
from ctan_monai.data.datasets.tabular.layout import Layout
from ctan_monai.data.datasets.tabular.rows import Row
from ctan_monai.data.lists.datalist import Item, kept_cases
from ctan_monai.data.lists.leakage import group_related, read_fingerprints
from ctan_monai.data.lists.splits import SPLITS, grouped_split_or_fold, tell_changes, without_test
from ctan_monai.errors import DataError
from ctan_monai.tasks import Classification

_logger = logging.getLogger(__name__)
_HELD_OUT = 0.15  # of the training cases, for validation, where a table has none


def divide(
    path: Path,
    rows: Sequence[Row],
    items: Sequence[Item],
    layout: Layout,
    split_fractions: Sequence[float] = (0.7, 0.1, 0.2),
    seed: int = 0,
    fold: int = 0,
    folds: int | None = None,
    add_data: str | Path | None = None,
) -> dict[str, list[Item]]:
    """Split cases as their table says, or by group.

    Args:
        path: the table, for messages.
        rows: of the cases.
        items: of the same cases, in that order.
        layout: its first exclusive classification is spread evenly.
        split_fractions: of training, validation and test, where the table does not divide.
        seed: of that split.
        fold: number of the fold to validate on; with ``folds``, of the one to test on.
        folds: cross-validation with so many parts.
        add_data: an earlier run, whose cases keep their split whatever the table says now, see `kept_cases`.

    Raises:
        DataError: only some rows say their split, there is no such fold, or the table has other folds.
        ConfigError: the split fractions do not add up to 1, or there are no such folds.
    """
    kept = kept_cases(add_data)
    if folds is not None and not kept:
        return _fold_of(path, rows, items, layout, split_fractions, seed, folds, fold)
    chosen = given_splits(path, rows, fold)
    if not any(chosen.values()) or folds is not None:
        return _by_group(items, layout, split_fractions, seed, folds, fold, kept)
    chosen |= {case: split for case, split in kept.items() if case in chosen}
    tell_changes(kept, {case: split for case, split in chosen.items() if split}, "cases")
    found = {split: [item for item in items if chosen[item["case"]] == split] for split in SPLITS}
    if found["train"] and not found["validation"]:
        again = _by_group(found["train"], layout, (1 - _HELD_OUT, _HELD_OUT, 0.0), seed)
        found |= {"train": again["train"], "validation": again["validation"]}
        _logger.warning("%s has no validation set: %d training cases serve", path, len(found["validation"]))
    return found


def _fold_of(
    path: Path,
    rows: Sequence[Row],
    items: Sequence[Item],
    layout: Layout,
    split_fractions: Sequence[float],
    seed: int,
    folds: int,
    fold: int,
) -> dict[str, list[Item]]:
    """Split cases for one fold of a cross-validation, by the table's folds where it has some."""
    given = {row.case: row.fold for row in rows}
    if all(number is None for number in given.values()):
        return _by_group(items, layout, split_fractions, seed, folds, fold)
    found = sorted({-1 if number is None else number for number in given.values()})
    if found != list(range(folds)):
        reason = f"its column fold has {found} (-1: nothing), expected 0 to {folds - 1} for --folds {folds}."
        raise DataError(path, None, reason, "Give --folds as many as the table has, or leave the column out.")
    rest = [item for item in items if given[item["case"]] != fold]
    inner = _by_group(rest, layout, without_test(split_fractions), seed)
    return {**inner, "test": [item for item in items if given[item["case"]] == fold]}


def divide_as_before(
    named: Mapping[str, Sequence[str]], items: Sequence[Item], given: Mapping[str, str | None]
) -> dict[str, list[Item]]:
    """Split cases as a run did; new cases are where the table puts them.

    Args:
        named: by split, the names of the run's cases.
        items: all cases.
        given: what the table says now (`given_splits`).
    """
    before = {case: split for split, cases in named.items() for case in cases}
    found: dict[str, list[Item]] = {split: [] for split in SPLITS}
    for item in items:
        split = before.get(item["case"], given[item["case"]])
        if split is not None:
            found[split].append(item)
    missing = before.keys() - {item["case"] for item in items}
    added = len(items) - sum(item["case"] in before for item in items)
    if missing or added:
        _logger.warning("since the training, %d cases have left the table and %d were added", len(missing), added)
    return found


def given_splits(path: Path, rows: Sequence[Row], fold: int = 0) -> dict[str, str | None]:
    """Return the split that a table gives to each case, None if it gives none to any.

    Raises:
        DataError: only some rows say their split, or there is no such fold.
    """
    folds = {row.fold for row in rows if row.fold is not None}
    if folds and fold not in folds:
        raise DataError(path, None, f"there is no fold {fold} among {sorted(folds)}.", "Give another --fold.")
    found: dict[str, str | None] = {}
    for row in rows:
        by_fold = None if row.fold is None or row.split == "test" else "validation" if row.fold == fold else "train"
        found[row.case] = by_fold or row.split
    silent = [row for row in rows if found[row.case] is None]
    if silent and len(silent) < len(rows):
        reason = f"{silent[0].where} has no split, but other lines have one."
        raise DataError(path, silent[0].case, reason, "Give all cases a split (or fold), or none.")
    return found


def _by_group(
    items: Sequence[Item],
    layout: Layout,
    split_fractions: Sequence[float],
    seed: int,
    folds: int | None = None,
    fold: int = 0,
    kept: Mapping[str, str] | None = None,
) -> dict[str, list[Item]]:
    exclusive = [task for task in layout.image_level if isinstance(task, Classification) and task.exclusive]
    classes: dict[str, int | str | None] = {}
    if exclusive:
        for item in items:
            value = read_header(item["file"]).values.get(exclusive[0].name)
            classes[item["case"]] = None if value is None else str(value)
    groups = group_related(read_fingerprints(items))
    divided = grouped_split_or_fold(groups, classes, split_fractions, seed, folds, fold, kept)
    tell_changes(kept or {}, {case: split for split, cases in divided.items() for case in cases}, "cases")
    by_name = {item["case"]: item for item in items}
    return {split: [by_name[case] for case in cases] for split, cases in divided.items()}
