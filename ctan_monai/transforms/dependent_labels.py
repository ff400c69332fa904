"""Take one finding as absent where another one is, or leave it unknown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from monai.transforms import Transform

from ctan_monai.errors import ConfigError
from ctan_monai.tasks import Classification, Task, check_tasks, present_key

RULES = ("missing", "negative")


class SetDependentLabeld(Transform):  # type: ignore[misc]  # MONAI has no type hints that mypy could follow
    """Say what a finding is in cases in which the one that it presupposes is known to be absent.

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
        if rule not in RULES:
            raise ConfigError("severity_of_negatives", f"{rule!r} is unknown.", f"Use one of {RULES}.")
        found = {each.name: each for each in check_tasks(tasks)}
        for name in (task, given):
            if not isinstance(entry := found.get(name), Classification) or len(entry.classes) != 1:
                raise ConfigError(
                    "SetDependentLabeld", f"{name} is no finding of {list(found)}.", "Name two binary tasks."
                )
        self.label, self.given, self.rule = task, given, rule
        self.present, self.given_present = present_key(found[task]), present_key(found[given])

    def __call__(self, sample: Mapping[str, Any]) -> dict[str, Any]:
        """Return the sample, the label known now where the rule says so."""
        absent = bool(sample[self.given_present]) and not bool(sample[self.given].any())
        if self.rule == "missing" or bool(sample[self.present]) or not absent:
            return dict(sample)
        return {**sample, self.label: torch.zeros_like(sample[self.label]), self.present: torch.tensor(True)}
