"""Class frequencies of a datalist, and weights against class imbalance."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from ctan_monai.data.cases.cache import read_header
from ctan_monai.errors import ConfigError, DataError, check_choice
from ctan_monai.tasks import Classification

_logger = logging.getLogger(__name__)
_EXPONENTS = {"equal": 0.0, "root": 0.5, "inverse": 1.0}


def classes_of(items: Sequence[Mapping[str, Any]], task: Classification) -> list[int | None]:
    """Return the class of each item, None if unknown.

    Raises:
        ConfigError: the task's classes do not exclude each other.
        DataError: a label is no class of the task.
    """
    if not task.exclusive:
        raise ConfigError(f"tasks: {task.name}", "its classes do not exclude each other.", "Balance an exclusive task.")
    labels = {file: read_header(file).values.get(task.name) for file in dict.fromkeys(str(i["file"]) for i in items)}
    for file, label in labels.items():
        if label is not None and label not in range(len(task.classes)):
            reason = f"the label of {task.name} is {label!r}, expected 0 to {len(task.classes) - 1}."
            raise DataError(file, None, reason, "Prepare the data again.")
    found = [labels[str(item["file"])] for item in items]
    return [None if label is None else int(label) for label in found]


def class_counts(items: Sequence[Mapping[str, Any]], task: Classification) -> list[int]:
    """Count the items of each class."""
    labels = classes_of(items, task)
    return [labels.count(index) for index in range(len(task.classes))]


def class_weights(items: Sequence[Mapping[str, Any]], task: Classification, rule: str = "equal") -> list[float]:
    """Compute class weights for the loss.

    Args:
        items: of the training's datalist.
        task: with classes that exclude each other.
        rule: 'equal' (no weights), 'inverse' of the class's frequency, or the 'root' of that.

    Returns:
        Weights whose mean over the items is 1; 1 for a class that does not occur.

    Raises:
        ConfigError: the rule is unknown.
    """
    check_choice("class_weights", rule, sorted(_EXPONENTS))
    counts = class_counts(items, task)
    raw = [count ** -_EXPONENTS[rule] if count else 0.0 for count in counts]
    total = sum(weight * count for weight, count in zip(raw, counts, strict=True))
    scale = sum(counts) / total if total else 1.0
    weights = [weight * scale if count else 1.0 for weight, count in zip(raw, counts, strict=True)]
    shown = ", ".join(f"{name} {n} ({w:.2f})" for name, n, w in zip(task.classes, counts, weights, strict=True))
    _logger.info("%s, items (weight in the loss): %s", task.name, shown)
    return weights
