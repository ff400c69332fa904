"""In which order, and how often, cases are trained on."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.utils.data import RandomSampler, Sampler, WeightedRandomSampler

from ctan_monai.data.lists.balance import classes_of
from ctan_monai.errors import ConfigError
from ctan_monai.tasks import Classification

logger = logging.getLogger(__name__)


def create_sampler(name: str, items: Sequence[Mapping[str, Any]], task: Classification | None = None) -> Sampler[Any]:
    """Build a sampler for a loader; an epoch has as many samples as there are items.

    It has a generator of its own, which `ReseedEachEpoch` seeds, so that epochs differ and resumed runs do not.

    Args:
        name: 'shuffled': each item once; 'balanced': drawn with replacement such that every class of the task is as
            frequent as any other. Items of unknown class are drawn as often as if they were shuffled.
        items: of the training's datalist.
        task: whose classes 'balanced' balances; they exclude each other.

    Raises:
        ConfigError: the name is unknown, or there is nothing to balance.
    """
    generator = torch.Generator()
    if name == "shuffled":
        return RandomSampler(items, generator=generator)
    if name != "balanced":
        raise ConfigError("sampler", f"{name!r} is unknown.", "Use shuffled or balanced.")
    if task is None:
        raise ConfigError("sampler", "balanced needs a task.", "Name the classification to balance.")
    weights = balanced_weights(classes_of(items, task))
    return WeightedRandomSampler(weights, len(items), replacement=True, generator=generator)


def balanced_weights(labels: Sequence[int | None]) -> list[float]:
    """Return how often each item should be drawn in an epoch of as many draws as there are items.

    >>> balanced_weights([0, 0, 0, 1, None])
    [0.6666666666666666, 0.6666666666666666, 0.6666666666666666, 2.0, 1.0]
    """
    counts = Counter(label for label in labels if label is not None)
    known = sum(counts.values())
    return [1.0 if label is None else known / (len(counts) * counts[label]) for label in labels]
