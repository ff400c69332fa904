"""Pretend not to know some labels, to find out what they are worth."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from monai.transforms import Transform

from ctan_monai.data.lists.splits import draw
from ctan_monai.errors import ConfigError
from ctan_monai.tasks import Task, check_tasks, present_key

logger = logging.getLogger(__name__)


class DropLabelsd(Transform):  # type: ignore[misc]  # MONAI has no type hints that mypy could follow
    """Make the labels of some tasks unknown for all but a fraction of the cases, always the same ones.

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
        """Return the sample, some labels of it unknown."""
        found = dict(sample)
        for name, cases in self.hidden.items():
            if sample["case"] in cases:
                found[name] = torch.zeros_like(sample[name])
                key = present_key(self.tasks[name])
                found[key] = torch.zeros_like(sample[key])
        return found
