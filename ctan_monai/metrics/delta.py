"""The paper's relative improvement over single-task networks (CTAN eq. 3), and its Table 2."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import resources
from typing import Literal, cast

from ctan_monai.errors import ConfigError

TaskSlot = Literal["1", "2", "mean"]


def delta_task(baseline: float, method: float, higher_is_better: bool) -> float:
    """Compute the relative improvement over the baseline on one task, %.

    Args:
        baseline: the metric of the single-task network.
        method: the metric of the multi-task network.
        higher_is_better: l = 1 of eq. 3 (Dice, accuracy, AUROC); False is l = 0 (an error).

    Returns:
        100 (-1)^l (baseline - method) / baseline: positive = better, whichever way the metric points.

    Raises:
        ConfigError: the baseline is zero.

    Source: CTAN eq. 3.
    """
    if baseline == 0:
        raise ConfigError(
            "delta_task: baseline", "it is 0, so nothing can be relative to it.", "Report the difference instead."
        )
    sign = -1.0 if higher_is_better else 1.0
    return sign * 100.0 * (baseline - method) / baseline


def delta_mean(deltas: Iterable[float]) -> float:
    """Compute the mean improvement over tasks (CTAN eq. 3), or over datasets.

    Raises:
        ConfigError: there is none.
    """
    found = list(deltas)
    if not found:
        raise ConfigError("delta_mean: deltas", "there is none.", "Give one delta per task.")
    return sum(found) / len(found)


@dataclass(frozen=True)
class PublishedDelta:
    """One delta of the paper's Table 2.

    Args:
        dataset: Prostate, OpenKBP, HAM10000, STOIC, or Average (over the four).
        method: HPS, MTAN or CTAN.
        task: '1', '2' or 'mean' (of both).
        metric: what is measured and its unit; empty where the delta is a mean.
        higher_is_better: which way the metric points; None where the delta is a mean.
        baseline: the single-task network's metric as printed (two decimals); None where the delta is a mean.
        value: the method's metric as printed; None where the delta is a mean.
        delta: the delta as printed, percent.
        follows: whether the printed delta lies within the rounding interval of the printed metrics (or, for a mean,
            of the printed deltas). Two do not, the first of HPS on Prostate and on OpenKBP.
    """

    dataset: str
    method: str
    task: TaskSlot
    metric: str
    higher_is_better: bool | None
    baseline: float | None
    value: float | None
    delta: float
    follows: bool


def published_table2() -> tuple[PublishedDelta, ...]:
    """Return the paper's Table 2, one entry per printed delta, in the order of the table."""
    text = resources.files("ctan_monai.metrics").joinpath("table2.csv").read_text(encoding="utf-8")
    return tuple(_parse(row) for row in csv.DictReader(text.splitlines()))


def _parse(row: dict[str, str]) -> PublishedDelta:
    return PublishedDelta(
        dataset=row["dataset"],
        method=row["method"],
        task=cast(TaskSlot, row["task"]),
        metric=row["metric"],
        higher_is_better=row["higher_is_better"] == "yes" if row["higher_is_better"] else None,
        baseline=float(row["baseline"]) if row["baseline"] else None,
        value=float(row["value"]) if row["value"] else None,
        delta=float(row["delta"]),
        follows=row["follows"] == "yes",
    )
