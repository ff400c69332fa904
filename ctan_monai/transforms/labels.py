"""Labels of cached cases as tensors, by kind of task; dependent and dropped labels."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from functools import singledispatch
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.transforms import Transform
from torch import Tensor

from ctan_monai.data.cases.case import Case
from ctan_monai.data.lists.splits import draw
from ctan_monai.errors import ConfigError, DataError, check_choice
from ctan_monai.tasks import Classification, Regression, Segmentation, Task, check_tasks, present_key, unregistered

logger = logging.getLogger(__name__)
RULES = ("missing", "negative")


@singledispatch
def read_label(task: Task, case: Case, file: Path) -> tuple[Tensor, Tensor]:
    """Read the label of a task from a case.

    Returns:
        The label, zeros where it is unknown, and whether it is known, as `LoadCaseFiled` describes them.

    Raises:
        ConfigError: nothing is known about this kind of task.
        DataError: a label of the whole image is none that this task can have.
    """
    raise unregistered(task, "label to read", "read_label")


@read_label.register
def _(task: Segmentation, case: Case, file: Path) -> tuple[Tensor, Tensor]:
    masks = np.zeros((len(task.labels), *case.shape), np.uint8)  # (L, *S)
    taken = np.zeros(case.shape, bool)
    overlap = 0
    for position, name in enumerate(task.labels):
        if name not in case.masks:
            continue
        mask = case.masks[name]
        if not task.overlapping:
            overlap += int(np.count_nonzero(taken & mask))
            masks[:position, mask] = 0
            taken |= mask
        masks[position] = mask
    if overlap:
        logger.debug("%s, %s: %d voxels belong to two labels; the later label has them.", case.case, task.name, overlap)
    return torch.from_numpy(masks), torch.tensor([name in case.masks for name in task.labels])


@read_label.register
def _(task: Regression, case: Case, file: Path) -> tuple[Tensor, Tensor]:
    if not task.pixel_level:
        return _read_value(task, case, file, lambda value: torch.tensor([float(value)]), torch.zeros(1))
    if task.name not in case.volumes:
        return torch.zeros(1, *case.shape), torch.tensor(False)
    volume = case.volumes[task.name]
    return torch.from_numpy(volume.astype(np.float32))[None], torch.tensor(True)  # (1, *S)


@read_label.register
def _(task: Classification, case: Case, file: Path) -> tuple[Tensor, Tensor]:
    classes = len(task.classes)
    if task.exclusive:
        return _read_value(task, case, file, lambda value: _class_index(value, classes), torch.tensor(0))
    return _read_value(task, case, file, lambda value: _findings(value, classes), torch.zeros(classes))


def _read_value(
    task: Task, case: Case, file: Path, convert: Callable[[Any], Tensor], unknown: Tensor
) -> tuple[Tensor, Tensor]:
    if task.name not in case.values:
        return unknown, torch.tensor(False)
    try:
        return convert(case.values[task.name]), torch.tensor(True)
    except (TypeError, ValueError) as error:
        raise DataError(
            file,
            case.case,
            f"the label of {task.name} is {case.values[task.name]!r}: {error}.",
            "Correct the label, or leave it out where it is unknown.",
        ) from error


def _class_index(value: Any, classes: int) -> Tensor:
    if int(value) != value or not 0 <= value < classes:
        raise ValueError(f"expected the index of a class, 0 to {classes - 1}")
    return torch.tensor(int(value))


def _findings(value: Any, classes: int) -> Tensor:
    label: Tensor = torch.as_tensor(value, dtype=torch.float32).reshape(-1)
    if label.shape != (classes,) or not bool(((label == 0) | (label == 1)).all()):
        raise ValueError(f"expected {classes} numbers, each 0 or 1")
    return label


class SetDependentLabeld(Transform):  # type: ignore[misc]  # MONAI has no type hints that mypy could follow
    """Set the label of a finding in cases in which the one that it presupposes is known to be absent.

    Severe COVID-19 presupposes COVID-19: of a patient without it one can say that severity is unknown, as it is not
    defined, or that it is absent. Put this after `LoadCaseFiled`.

    Args:
        tasks: tasks of the samples.
        task: name of the finding.
        given: name of the one that it presupposes.
        rule: 'missing' leaves an unknown label unknown; 'negative' makes it known, and 0, where ``given`` is 0.

    Raises:
        ConfigError: the rule is unknown, or a name is not that of a task with one class.
    """

    def __init__(self, tasks: Iterable[Task], task: str, given: str, rule: str = "missing") -> None:
        check_choice("severity_of_negatives", rule, RULES)
        found = {each.name: each for each in check_tasks(tasks)}
        for name in (task, given):
            entry = found.get(name)
            if entry is None or not entry.classifies or len(entry.answer_names) != 1:
                raise ConfigError(
                    "SetDependentLabeld", f"{name} is no finding of {list(found)}.", "Name two binary tasks."
                )
        self.label, self.given, self.rule = task, given, rule
        self.present, self.given_present = present_key(found[task]), present_key(found[given])

    def __call__(self, sample: Mapping[str, Any]) -> dict[str, Any]:
        """Return the sample with the label set where the rule applies."""
        absent = bool(sample[self.given_present]) and not bool(sample[self.given].any())
        if self.rule == "missing" or bool(sample[self.present]) or not absent:
            return dict(sample)
        return {**sample, self.label: torch.zeros_like(sample[self.label]), self.present: torch.tensor(True)}


class DropLabelsd(Transform):  # type: ignore[misc]  # MONAI has no type hints that mypy could follow
    """Drop the labels of some tasks for all but a fraction of the cases, always the same ones.

    Put it after `LoadCaseFiled` in the training's transforms. A hidden label is what an unknown one is: zeros, and not
    present. A region of the task stays.

    Args:
        tasks: tasks of the samples.
        items: the training's datalist, whose cases are divided.
        known: by task, the fraction of cases that keep their label; a task that is not named keeps all.
        seed: another seed hides others.

    Raises:
        ConfigError: a name is no task's, or a share is not between 0 and 1.
    """

    def __init__(
        self, tasks: Iterable[Task], items: Iterable[Mapping[str, Any]], known: Mapping[str, float], seed: int = 0
    ) -> None:
        self.tasks = {task.name: task for task in check_tasks(tasks)}
        cases = sorted({str(item["case"]) for item in items})
        self.hidden: dict[str, frozenset[str]] = {}
        for name, share in known.items():
            if name not in self.tasks or not isinstance(share, int | float) or not 0 <= share <= 1:
                found = f"{share!r} for {name} of the tasks {list(self.tasks)}."
                raise ConfigError(f"known: {name}", found, "Give a fraction from 0 to 1 for a task's name.")
            drawn = sorted(cases, key=lambda case: draw(seed, f"{name} {case}"))
            kept = round(share * len(cases))
            self.hidden[name] = frozenset(drawn[kept:])
            if kept < len(cases):
                logger.warning("labels of %s are hidden: %d of %d cases keep theirs", name, kept, len(cases))

    def __call__(self, sample: Mapping[str, Any]) -> dict[str, Any]:
        """Return the sample with some labels dropped."""
        found = dict(sample)
        for name, cases in self.hidden.items():
            if sample["case"] in cases:
                found[name] = torch.zeros_like(sample[name])
                key = present_key(self.tasks[name])
                found[key] = torch.zeros_like(sample[key])
        return found
