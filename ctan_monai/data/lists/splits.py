"""Splits of cases or patients into training, validation and test by groups and a seed."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Mapping, Sequence

from ctan_monai.errors import ConfigError

SPLITS = ("train", "validation", "test")
_logger = logging.getLogger(__name__)


def grouped_split(
    groups: Mapping[str, str],
    classes: Mapping[str, int | str | None] | None = None,
    split_fractions: Sequence[float] = (0.7, 0.1, 0.2),
    seed: int = 0,
    kept: Mapping[str, str] | None = None,
) -> dict[str, list[str]]:
    """Split cases by group, stratified by class.

    Within each class the groups are drawn in an order that depends on the seed and their names only, and each goes to
    the split that lacks most cases. So the fractions hold within each class, to the size of a group, and the result
    does not depend on the order in which cases are listed.

    Args:
        groups: the group of each case, such as its lesion or patient.
        classes: the class of each case, None where it is unknown; a group counts as what most of its cases are.
        split_fractions: of training, validation and test; they add up to 1.
        seed: another seed draws others.
        kept: the split of cases that were split before; they keep it, and new cases of their group come to them.

    Returns:
        Cases by split, sorted; without new cases of a group whose earlier ones lie in several splits, which would be
        both trained on and tested (the log says how many). A class of at least as many groups as there are splits with
        a positive fraction has a group in each of them.

    Raises:
        ConfigError: the fractions are no three numbers from 0 to 1 that add up to 1, or nothing is left for training.
    """
    check_split_fractions(split_fractions)
    wanted = {split: float(fraction) for split, fraction in zip(SPLITS, split_fractions, strict=True) if fraction > 0}
    members, strata = _strata(groups, classes or {})
    found = _as_before(groups, kept or {})
    before = {groups[case] for cases in found.values() for case in cases}
    for stratum in sorted(strata):
        drawn = sorted(strata[stratum], key=lambda group: draw(seed, group))
        lacking = {split: fraction * sum(len(members[group]) for group in drawn) for split, fraction in wanted.items()}
        old = {case for group in drawn if group in before for case in members[group]}
        here = {split: old & set(cases) for split, cases in found.items()}
        for split in lacking:
            lacking[split] -= len(here[split])
        new = [group for group in drawn if group not in before]
        first = [split for split in wanted if not here[split]] if len(drawn) >= len(wanted) else []
        for number, group in enumerate(new):
            split = first[number] if number < len(first) else max(lacking, key=lambda each: lacking[each])
            lacking[split] -= len(members[group])
            found[split] += members[group]
    return {split: sorted(cases) for split, cases in found.items()}


def _as_before(groups: Mapping[str, str], kept: Mapping[str, str]) -> dict[str, list[str]]:
    """Return the cases that were split before, and new ones of their groups, by split."""
    splits_of: dict[str, set[str]] = {}
    for case, split in kept.items():
        if case in groups:
            splits_of.setdefault(groups[case], set()).add(split)
    found: dict[str, list[str]] = {split: [] for split in SPLITS}
    left_out = 0
    for case, group in groups.items():
        where = {kept[case]} if case in kept else splits_of.get(group, set())
        if len(where) == 1:
            found[next(iter(where))].append(case)
        left_out += len(where) > 1
    if left_out:
        _logger.warning("%d new cases are left out: earlier ones of their group lie in several splits", left_out)
    return found


def tell_changes(before: Mapping[str, str], now: Mapping[str, str], what: str) -> None:
    """Log how many cases (or patients) data that were split before have gained, by split, and lost.

    Args:
        before: split by name of the earlier run; without any, nothing is said.
        now: split by name.
        what: is split, such as patients.
    """
    if not before:
        return
    added = Counter(split for name, split in now.items() if name not in before)
    listed = ", ".join(f"{added[split]} {split}" for split in SPLITS if added[split]) or "none"
    _logger.info("%s added: %s; the other %d keep their split", what, listed, len(before.keys() & now.keys()))
    if gone := len(before.keys() - now.keys()):
        _logger.warning("%d %s that were there before are not any more", gone, what)


def draw(seed: int, name: str) -> bytes:
    """Return a pseudorandom sort key of a name, the same on every machine."""
    return hashlib.blake2b(f"{seed} {name}".encode(), digest_size=16).digest()


def _strata(
    groups: Mapping[str, str], classes: Mapping[str, int | str | None]
) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Return the cases of each group, and the groups of each class."""
    members: dict[str, list[str]] = {}
    for case, group in groups.items():
        members.setdefault(group, []).append(case)
    strata: dict[str, list[str]] = {}
    for group, cases in members.items():
        strata.setdefault(_class_of(cases, classes), []).append(group)
    return members, strata


def _class_of(cases: Sequence[str], classes: Mapping[str, int | str | None]) -> str:
    """Return the most frequent class of a group, alphabetically first of equals; '' if none is known."""
    counts = Counter(str(classes[case]) for case in cases if classes.get(case) is not None)
    return min(counts, key=lambda name: (-counts[name], name), default="")


def divide(
    patients: Mapping[str, str],
    seed: int = 0,
    split_fractions: Sequence[float] = (0.7, 0.15, 0.15),
    kept: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Split patients, keeping earlier assignments.

    The order in which patients are drawn depends on the seed and who they are only, not on their pseudonyms, so the
    same seed divides the same patients alike wherever they are prepared. Patients that already have a split keep it,
    so that adding others moves nobody from training into the test.

    Args:
        patients: who each pseudonym is.
        seed: another seed draws others.
        split_fractions: of training, validation and test; they add up to 1.
        kept: splits of an earlier run.

    Returns:
        Split by patient. With three patients or more, no split of a positive fraction is empty; with fewer, training
        comes first.

    Raises:
        ConfigError: the split fractions are no three numbers from 0 to 1 that add up to 1.
    """
    check_split_fractions(split_fractions)
    names = sorted(patients, key=lambda name: draw(seed, patients[name]))
    found = {name: split for name, split in (kept or {}).items() if name in patients}
    left = dict(zip(SPLITS, _sizes(len(names), split_fractions), strict=True))
    for split in found.values():
        left[split] -= 1
    for name in names:
        if name in found:
            continue
        split = max(SPLITS, key=lambda each: left[each])  # the first of equals
        found[name] = split
        left[split] -= 1
    return {name: found[name] for name in names}


def check_split_fractions(fractions: Sequence[float], setting: str = "split_fractions") -> None:
    """Check that split fractions are three that add up to 1, with some for training.

    Raises:
        ConfigError: they are no three numbers from 0 to 1 that add up to 1, or nothing is left for training.
    """
    numbers = isinstance(fractions, list | tuple) and all(isinstance(fraction, int | float) for fraction in fractions)
    usable = numbers and len(fractions) == 3 and all(0 <= fraction <= 1 for fraction in fractions)
    usable = usable and abs(sum(fractions) - 1) < 1e-6
    if not usable or fractions[0] <= 0:
        raise ConfigError(setting, f"{fractions} was found.", "Give three that add up to 1, as 0.7, 0.15, 0.15.")


def _sizes(count: int, fractions: Sequence[float]) -> list[int]:
    others = [0 if fraction == 0 or count < 3 else max(1, round(fraction * count)) for fraction in fractions[1:]]
    if count == 2 and fractions[1] > 0:
        others[0] = 1
    return [count - sum(others), *others]


def grouped_split_or_fold(
    groups: Mapping[str, str],
    classes: Mapping[str, int | str | None] | None,
    split_fractions: Sequence[float],
    seed: int,
    folds: int | None,
    fold: int,
    kept: Mapping[str, str] | None = None,
) -> dict[str, list[str]]:
    """Split cases by group: once (`grouped_split`), or where there are folds for one of them (`grouped_fold`).

    Raises:
        ConfigError: there are no such folds, a fold is named of none, or folds would move cases that are kept.
    """
    if folds is None:
        if fold:
            raise ConfigError("fold", f"{fold} of no folds was found.", "Give --folds too, for example 5.")
        return grouped_split(groups, classes, split_fractions, seed, kept)
    if kept:
        raise ConfigError("add_data", f"{folds} folds deal all cases anew.", "Leave out --folds, or --add_data.")
    return grouped_fold(groups, classes, split_fractions, seed, folds, fold)


def grouped_fold(
    groups: Mapping[str, str],
    classes: Mapping[str, int | str | None] | None,
    split_fractions: Sequence[float],
    seed: int,
    folds: int,
    fold: int,
) -> dict[str, list[str]]:
    """Split cases by group for cross-validation, stratified by class: each case is in the test set of one fold.

    Args:
        groups: the group of each case.
        classes: the class of each case, None where it is unknown.
        split_fractions: the first two divide what is not the test set into training and validation.
        seed: another seed draws others.
        folds: how many parts.
        fold: which of them is the test set, from 0.

    Returns:
        Cases by split, sorted.

    Raises:
        ConfigError: there are no such folds, or the fractions are none.
    """
    check_split_fractions(split_fractions)
    if not isinstance(folds, int) or folds < 2 or not isinstance(fold, int) or not 0 <= fold < folds:
        raise ConfigError("fold", f"{fold!r} of {folds!r} folds was found.", "Give 2 folds or more, and one from 0.")
    parts = _deal(groups, classes or {}, seed, folds)
    rest = {case: group for case, group in groups.items() if case not in parts[fold]}
    return {**grouped_split(rest, classes, without_test(split_fractions), seed), SPLITS[2]: sorted(parts[fold])}


def without_test(split_fractions: Sequence[float]) -> tuple[float, float, float]:
    """Return the fractions of what is left where the test set is taken already.

    >>> without_test((0.375, 0.125, 0.5))
    (0.75, 0.25, 0.0)
    """
    train, validation = float(split_fractions[0]), float(split_fractions[1])
    return train / (train + validation), 1 - train / (train + validation), 0.0


def _deal(groups: Mapping[str, str], classes: Mapping[str, int | str | None], seed: int, folds: int) -> list[set[str]]:
    """Deal groups out to folds, class by class, each to the fold that has fewest cases of the class."""
    members, strata = _strata(groups, classes)
    parts: list[set[str]] = [set() for _ in range(folds)]
    for stratum in sorted(strata):
        counts = [0] * folds
        for group in sorted(strata[stratum], key=lambda name: draw(seed, name)):
            smallest = min(range(folds), key=lambda number: (counts[number], len(parts[number]), number))
            counts[smallest] += len(members[group])
            parts[smallest].update(members[group])
    return parts
