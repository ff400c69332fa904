"""Checks of a table of cases and its files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ctan_monai.data.cases.cache import read_case_file
from ctan_monai.data.cases.case import Case
from ctan_monai.data.datasets.tabular.layout import Layout
from ctan_monai.data.datasets.tabular.reader import read_case
from ctan_monai.data.datasets.tabular.rows import read_rows
from ctan_monai.data.datasets.tabular.sides import swapped_pairs
from ctan_monai.data.datasets.tabular.splits import given_splits
from ctan_monai.data.datasets.tabular.values import NOTES
from ctan_monai.data.lists.leakage import Datalists, find_leaks, fingerprint_of
from ctan_monai.errors import DataError
from ctan_monai.files.progress_bar import progress_bar
from ctan_monai.tasks import Classification, Regression, Segmentation, Task

UNDIVIDED = "all"  # where the splits are not given


@dataclass(frozen=True)
class Problem:
    """An error or a possible error in the data.

    Args:
        level: a fault must be corrected; a warning may be as it should.
        where: line of the table or file.
        case: id, '' if none is concerned.
        what: what was found.
        remedy: what to do.
    """

    level: Literal["fault", "warning"]
    where: str
    case: str
    what: str
    remedy: str


@dataclass(frozen=True)
class Checked:
    """Result of a check.

    Args:
        problems: faults first.
        cases: how many each split has.
        known: by label, in how many cases of each split it is known.
    """

    problems: tuple[Problem, ...]
    cases: Mapping[str, int]
    known: Mapping[str, Mapping[str, int]]

    @property
    def faults(self) -> int:
        """Number of problems that must be corrected."""
        return sum(problem.level == "fault" for problem in self.problems)


def check_table(
    path: str | Path, dataset_dir: str | Path | None, layout: Layout, fold: int = 0, progress: bool = True
) -> Checked:
    """Check a table of cases: each row, file and label, and the splits for leakage.

    Args:
        path: the table.
        dataset_dir: folder that its paths start from.
        layout: what is wanted.
        fold: the one that validates.
        progress: show a bar.

    Returns:
        What was found; a single fault if the table as a whole cannot be used.
    """
    errors: list[tuple[str, DataError]] = []
    try:
        rows = read_rows(path, dataset_dir, layout, problems=errors)
    except DataError as error:
        return Checked((_fault(error),), {}, {})
    problems = [_fault(error, where) for where, error in errors]
    try:
        splits = given_splits(Path(path), rows, fold)
    except DataError as error:
        problems.append(_fault(error))
        splits = {}
    tally = _Tally(layout.tasks)
    for row in progress_bar(rows, "reading cases", "case", shown=progress):
        try:
            tally.add(read_case(row, layout), splits.get(row.case) or UNDIVIDED, row.where)
        except DataError as error:
            problems.append(_fault(error, row.where))
    return tally.result(problems)


def check_items(datalists: Datalists, tasks: Sequence[Task], progress: bool = True) -> Checked:
    """Check the cached cases of a bundle's datalists: each byte and label, and the splits for leakage.

    Args:
        datalists: items by split.
        tasks: what is predicted.
        progress: show a bar.
    """
    files = {(split, str(item["file"])): None for split, items in datalists.items() for item in items}
    problems: list[Problem] = []
    tally = _Tally(tasks)
    for split, file in progress_bar(files, "reading cases", "case", len(files), progress):
        try:
            tally.add(read_case_file(file), split, file)
        except DataError as error:
            problems.append(_fault(error))
    return tally.result(problems)


class _Tally:
    """Accumulate checks over cases."""

    def __init__(self, tasks: Sequence[Task]) -> None:
        self.tasks = tasks
        self.problems: list[Problem] = []
        self.fingerprints: dict[str, list[Any]] = {}
        self.cases: dict[str, int] = {}
        self.known: dict[str, dict[str, int]] = {name: {} for name in _label_names(tasks)}

    def add(self, case: Case, split: str, where: str) -> None:
        """Check a case."""
        self.cases[split] = self.cases.get(split, 0) + 1
        for name in _known_labels(case, self.tasks):
            self.known[name][split] = self.known[name].get(split, 0) + 1
        self.problems += [Problem(level, where, case.case, what, remedy) for level, what, remedy in self._of(case)]
        if "thumbnail" in case.meta:
            self.fingerprints.setdefault(split, []).append(fingerprint_of(case.case, case.meta))

    def _of(self, case: Case) -> Iterable[tuple[Literal["fault", "warning"], str, str]]:
        """Return what is wrong with a case that could be read."""
        for note in case.meta.get(NOTES, []):
            yield "warning", note, "Correct the file if it is wrong."
        labels = {task.name for task in self.tasks}
        for name, volume in case.volumes.items():
            if name not in labels and volume.min() == volume.max():
                yield (
                    "fault",
                    f"the channel {name} is {volume.flat[0]} everywhere",
                    "Give an image that shows something.",
                )
        for task in self.tasks:
            if isinstance(task, Segmentation):
                for label in task.labels:
                    if label in case.masks and not case.masks[label].any():
                        what = f"the mask of {label} is empty: it counts as known not to be there"
                        yield "warning", what, "Leave it out if it is not known."
                    elif label in case.masks and case.masks[label].all():
                        yield "warning", f"the mask of {label} is the whole image", "See that it is a mask."
                for left, right in swapped_pairs(case, task):
                    what = f"{left} and {right} lie on each other's side"
                    yield "fault", what, "Exchange them, or correct the image's orientation."
            yield from _value_problems(case, task)

    def result(self, problems: Sequence[Problem]) -> Checked:
        """Check the splits for leakage, and return all problems."""
        found = [*problems, *self.problems]
        for leak in find_leaks(self.fingerprints):
            remedy = "Put both into one split, or one of them away."
            found.append(Problem("fault", "splits", leak.first, f"{leak}", remedy))
        training = "train" if "train" in self.cases else UNDIVIDED
        for name, counts in self.known.items():
            if self.cases and not counts.get(training):
                what = f"{name} is known in none of the {self.cases.get(training, 0)} cases to train on"
                found.append(Problem("fault", "table", "", what, "Correct its name, or give some cases this label."))
        order = {"fault": 0, "warning": 1}
        return Checked(tuple(sorted(found, key=lambda each: order[each.level])), self.cases, self.known)


def _value_problems(case: Case, task: Task) -> Iterable[tuple[Literal["fault", "warning"], str, str]]:
    if isinstance(task, Regression) and task.nonnegative:
        values = case.volumes.get(task.name) if task.pixel_level else case.values.get(task.name)
        lowest = None if values is None else float(np.min(values))
        if lowest is not None and lowest < 0:
            what = f"{task.name} falls to {lowest:g} {task.unit}, but predictions are never below 0"
            yield "fault", what, "Correct it, or make the task one that can be negative."
    value = case.values.get(task.name)
    exclusive = isinstance(task, Classification) and task.exclusive
    if exclusive and value is not None and value not in range(task.channels):
        yield "fault", f"{task.name} is {value}, expected 0 to {task.channels - 1}", "Prepare the data again."


def _label_names(tasks: Sequence[Task]) -> list[str]:
    return [name for task in tasks for name in task.label_names]


def _known_labels(case: Case, tasks: Sequence[Task]) -> list[str]:
    known = {*case.masks, *case.volumes, *case.values}
    return [name for name in _label_names(tasks) if name in known]


def _fault(error: DataError, where: str | None = None) -> Problem:
    """Convert an error to a problem, naming its row once."""
    what = error.reason.rstrip(".")
    if where is None:
        return Problem("fault", str(error.path), error.case or "", what, error.remedy)
    said = what.startswith(f"{where}: ")
    what = what.removeprefix(f"{where}: ") if said else f"{error.path.name}: {what}"
    return Problem("fault", where, error.case or "", what, error.remedy)
