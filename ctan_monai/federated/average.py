"""Federated averaging by task, over the sites that have labels of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Update:
    """The update of a site after a round.

    Args:
        site: its name.
        weights: by name; a task of which the site had no label is left out.
        counts: samples from which each of them was learned.
    """

    site: str
    weights: Mapping[str, Array]
    counts: Mapping[str, float]


def average(weights: Mapping[str, Array], updates: Sequence[Update]) -> dict[str, Array]:
    """Average the updates of sites (FedAvg, McMahan et al. 2017), weighted by the samples of each task.

    Args:
        weights: before the round; what no site sends stays as it is.
        updates: of the sites.

    Returns:
        All weights, in the same shapes and types; whole numbers are rounded.

    Raises:
        ValueError: a site sends a name or a shape that there is not, a number that is not finite, or no count.
    """
    for update in updates:
        _check(weights, update)
    found: dict[str, Array] = {}
    for name, before in weights.items():
        parts = [(update.weights[name], update.counts[name]) for update in updates if name in update.weights]
        total = sum(count for _, count in parts)
        if not total:
            found[name] = before
            continue
        mean = sum(np.asarray(part, np.float64) * (count / total) for part, count in parts)
        found[name] = np.asarray(np.rint(mean) if before.dtype.kind in "iub" else mean).astype(before.dtype)
    return found


def _check(weights: Mapping[str, Array], update: Update) -> None:
    for name, values in update.weights.items():
        if name not in weights or np.shape(values) != weights[name].shape:
            raise ValueError(f"{update.site} sends {name} of {np.shape(values)}, which this network does not have")
        if not np.isfinite(values).all():
            raise ValueError(f"{update.site} sends a {name} that is not finite")
        if not update.counts.get(name, -1) >= 0:
            raise ValueError(f"{update.site} does not say from how many samples {name} was learned")
