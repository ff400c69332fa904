"""Datalists: the cases (or slices) of each split, as a bundle's config asks for them.

An item is ``{"case": "pt_7", "file": "<case file>"}``, and has ``"slice": 63`` where single slices are trained on.
"""

from __future__ import annotations

import itertools
import json
import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from ctan_monai.data.cases.cache import CaseCache, Header, read_header
from ctan_monai.data.lists.leakage import Datalists, group_related, read_fingerprints
from ctan_monai.data.lists.splits import SPLITS, grouped_split_or_fold, tell_changes
from ctan_monai.errors import ConfigError, DataError
from ctan_monai.files.duplicates import pairs_once

_logger = logging.getLogger(__name__)

Item = dict[str, Any]
_DATALIST = "datalist.json"  # of a run, see engines.write_datalist
Slices = Literal["body", "dose", "all"]


def slices_to_use(header: Header, slices: Slices, empty_fraction: float = 0.0) -> list[int]:
    """Choose slices of a case along its last axis; what each kind means stands in ``openkbp_datalist``.

    Args:
        header: of the case's file, in which the slices that each array occupies are listed.
        slices: 'body', 'dose' or 'all'.
        empty_fraction: fraction of other slices to add.

    Returns:
        Indices in rising order.

    Raises:
        DataError: the case has no CT, or neither a dose region nor a dose.
    """
    if slices == "all":
        return list(range(header.shape[-1]))
    names = ("ct",) if slices == "body" else ("dose_region", "dose")
    known = [name for name in names if name in header.occupied]
    if not known:
        remedy = "Choose other slices, or give this case what is missing."
        raise DataError("case", header.case, f"slices: {slices} needs one of {names}, it has none.", remedy)
    used = header.slices_with(known[0])
    others = sorted(set(range(header.shape[-1])) - set(used))
    count = min(len(others), round(empty_fraction * len(used)))
    spread = np.linspace(0, len(others) - 1, count).round().astype(int).tolist()
    return sorted([*used, *(others[at] for at in spread)])


def read_choice(path: str | Path) -> dict[str, list[str]]:
    """Read a JSON file that names the cases of each split.

    Raises:
        DataError: it cannot be read, or is not ``{"train": [names], ...}`` with each name once in a split.
    """
    path = Path(path)
    remedy = 'Write {"train": ["pt_1", "pt_2"], "validation": ["pt_3"]}.'
    try:
        content = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=pairs_once)
    except (OSError, ValueError) as error:
        raise DataError(path, None, f"the list of cases cannot be read ({error}).", remedy) from error
    if not isinstance(content, dict) or not set(content) <= set(SPLITS):
        raise DataError(path, None, f"it is not a dictionary of the splits {SPLITS}.", remedy)
    for split, names in content.items():
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise DataError(path, None, f"{split} is not a list of names.", remedy)
        if len(set(names)) != len(names):
            raise DataError(path, None, f"{split} names a case twice.", remedy)
    return content


def choose(
    datalist: str | Path | None, splits: Sequence[str], known: Collection[str], among: str, remedy: str
) -> dict[str, list[str]] | None:
    """Read which cases a JSON file names for each split, None without a file.

    Args:
        datalist: see `read_choice`.
        splits: that are wanted.
        known: names of all cases.
        among: what these are, for messages: patients of a folder.
        remedy: for names that are unknown.

    Raises:
        DataError: the file cannot be used, or a name is unknown.
    """
    if datalist is None or str(datalist) == "":
        return None
    names = read_choice(datalist)
    chosen = {split: names.get(split, []) for split in splits}
    unknown = sorted({name for found in chosen.values() for name in found} - set(known))
    if unknown:
        raise DataError(datalist, None, f"{unknown[:10]} are not among the {len(known)} {among}.", remedy)
    return chosen


def prepare_items(
    cache: CaseCache, known: Mapping[str, Path], chosen: Mapping[str, Sequence[str]] | None = None, **how: Any
) -> dict[str, Item]:
    """Fill a cache with the cases of a choice, see `choose`, and return an item for each by its id.

    Args:
        cache: of cases.
        known: files or folders of all cases, by id.
        chosen: ids by split; None for all.
        **how: see `CaseCache.prepare`.

    Raises:
        DataError: see `CaseCache.prepare`.
    """
    names = dict.fromkeys(known if chosen is None else itertools.chain.from_iterable(chosen.values()))
    files = cache.prepare([known[name] for name in names], **how)
    items = [{"case": cache.name_of(source), "file": str(file)} for source, file in files.items()]
    return {item["case"]: item for item in items}


def split_related(
    items: Sequence[Item],
    classes: Mapping[str, int | str | None] | None,
    split_fractions: Sequence[float],
    seed: int,
    folds: int | None,
    fold: int,
    add_data: str | Path | None = None,
) -> dict[str, list[str]]:
    """Split cases such that those of one lesion, patient, file or image stay together, see `grouped_split_or_fold`.

    Args:
        items: of all cases.
        classes: by case, spread evenly; None where that is not wanted.
        split_fractions: of training, validation and test.
        seed: of the split.
        folds: of a cross-validation, see `grouped_fold`.
        fold: which of them.
        add_data: a run whose cases keep their split, see `kept_cases`; the log says what changed.

    Raises:
        DataError: a case's file does not say what image it came from, or there is no such run.
        ConfigError: the fractions or folds are none, or folds are given with ``add_data``.
    """
    kept = kept_cases(add_data)
    groups = group_related(read_fingerprints(items))
    if related := len(groups) - len(set(groups.values())):
        _logger.info("%d of %d cases belong to another of the same patient or look", related, len(groups))
    divided = grouped_split_or_fold(groups, classes, split_fractions, seed, folds, fold, kept)
    tell_changes(kept, {case: split for split, cases in divided.items() for case in cases}, "cases")
    return divided


def kept_cases(add_data: str | Path | None) -> dict[str, str]:
    """Return the split of each case of an earlier run, to whose data others were added; nothing without one.

    Args:
        add_data: the run's folder, or a file as its datalist.json.

    Raises:
        DataError: it is no such file, or a case stands in two splits.
    """
    if add_data is None or not str(add_data):
        return {}
    path = Path(str(add_data)).expanduser()
    path = path / _DATALIST if path.is_dir() else path
    kept: dict[str, str] = {}
    for split, cases in read_choice(path).items():
        if again := sorted(kept.keys() & set(cases)):
            reason = f"it stands in {kept[again[0]]} and in {split}."
            raise DataError(path, again[0], reason, "Name a run of this bundle, or correct the file.")
        kept |= dict.fromkeys(cases, split)
    return kept


def items_by_split(
    source: Path, divided: Mapping[str, Sequence[str]], items: Mapping[str, Item], splits: Sequence[str], what: str
) -> dict[str, list[Item]]:
    """Return the items of each split.

    Args:
        source: where the cases come from.
        divided: names of cases by split; those that have no item were left out.
        items: by name.
        splits: that are wanted.
        what: an item is: patient, image.

    Raises:
        DataError: a split is empty.
    """
    listed = {split: [items[name] for name in divided[split] if name in items] for split in splits}
    remedy = f"Give more {what}s, other split_fractions, or a datalist file that names some for each split."
    refuse_empty(source, listed, what, remedy)
    return listed


def refuse_empty(
    source: Path, items: Mapping[str, Sequence[Any]], what: str, remedy: str, required: Iterable[str] | None = None
) -> None:
    """Refuse lists of which some are empty.

    Args:
        source: where the cases come from.
        items: by split.
        what: an item is: patient, image, case.
        remedy: what to do.
        required: splits that must not be empty; None for all.

    Raises:
        DataError: one is empty.
    """
    counts = {split: len(found) for split, found in items.items()}
    empty = [split for split in (items if required is None else required) if not counts.get(split)]
    if empty:
        raise DataError(source, None, f"no {what} was found for {empty}; the splits hold {counts}.", remedy)


def check_splits(splits: Sequence[str]) -> None:
    """Check the names of splits.

    Raises:
        ConfigError: it does not.
    """
    if isinstance(splits, str) or not splits or not set(splits) <= set(SPLITS):
        raise ConfigError("splits", f"{splits!r} was found.", f"List some of {SPLITS}.")


def check_slices(slices: str | None, empty_fraction: float, kinds: Sequence[str] = get_args(Slices)) -> None:
    """Check which slices of a case are asked for.

    Raises:
        ConfigError: an argument has an unknown value.
    """
    if slices is not None and slices not in kinds:
        raise ConfigError("slices", f"{slices!r} is unknown.", f"Use one of {kinds}, or leave it out.")
    if not 0 <= empty_fraction <= 1:
        raise ConfigError("empty_fraction", f"{empty_fraction} was found.", "Give a fraction from 0 to 1.")


def describe_data(dataset_dir: str | Path | None, datalists: Datalists, synthetic_source: str) -> dict[str, Any]:
    """Return the data record of a run without prescriptions, for `write_data_record`.

    Args:
        dataset_dir: folder of the data, as in the config; its name is the source.
        datalists: items by split, of which there is one at least.
        synthetic_source: the source where the first case says that it is synthetic.

    Raises:
        DataError: the first case's file cannot be read.
    """
    first = next(item for entries in datalists.values() for item in entries)
    synthetic = bool(read_header(first["file"]).meta.get("synthetic"))
    return {
        "synthetic": synthetic,
        "prescriptions_gy": {},
        "normalized_to_gy": None,
        "cases": {split: len({item["case"] for item in entries}) for split, entries in datalists.items()},
        "source": synthetic_source if synthetic else Path(str(dataset_dir)).name,
    }
