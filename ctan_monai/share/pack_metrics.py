"""The figures of a run, and in words what they were measured on."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ctan_monai.errors import CheckpointError
from ctan_monai.share.pack_source import Trained

_BOOKKEEPING = ("selection", "complete_cases")


@dataclass(frozen=True)
class Figures:
    """How good a network is.

    Args:
        values: by name.
        measured_on: which cases, in words.
        prefix: in front of the names where the cases are not those of the test.
        trained_on: what the network was trained on, in words.
        evaluated: the figures are an evaluation's, not those of the training's validation.
    """

    values: dict[str, float]
    measured_on: str
    prefix: str
    trained_on: str
    evaluated: bool


def figures_of(trained: Trained) -> Figures:
    """Collect a run's figures: those of its evaluation, else those of the best epoch's validation, else none.

    Raises:
        CheckpointError: metrics.json, summary.json or data.json is not what a run writes.
    """
    try:
        return _figures_of(trained)
    except (AttributeError, KeyError, TypeError) as error:
        reason = f"metrics.json, data.json or evaluation/summary.json is not what a run writes ({error!r})."
        raise CheckpointError("--weights", reason, "Restore it from a copy, or delete it.") from error


def _figures_of(trained: Trained) -> Figures:
    trained_on, kind = _trained_on(trained)
    if values := _numbers(trained.evaluation.get("metrics")):
        cases = trained.evaluation.get("cases", "unknown number of")
        where = f"the {cases} case{'s' if cases != 1 else ''} of the test split{kind}"
        return Figures(values, where, "", trained_on, True)
    epochs = {entry.get("epoch"): entry for entry in trained.history.get("epochs", [])}
    best = (trained.history.get("best") or {}).get("all") or {}
    if values := _numbers(epochs.get(best.get("epoch"), {}).get("validation")):
        where = f"the validation split{kind}, on which the epoch ({best['epoch']}) was chosen; no test was run"
        return Figures(values, where, "validation_", trained_on, False)
    scores = {f"{task}_selection": entry.get("score") for task, entry in (trained.history.get("best") or {}).items()}
    if values := _numbers(scores, drop=()):
        where = f"the validation split{kind}, on which each task's best epoch was chosen; no test was run"
        return Figures(values, where, "validation_", trained_on, False)
    return Figures({}, "", "", trained_on, False)


def _numbers(metrics: Any, drop: tuple[str, ...] = _BOOKKEEPING) -> dict[str, float]:
    """Keep what is a number, without what only chose the epoch."""
    if not isinstance(metrics, dict):
        return {}
    numbers = {name: value for name, value in metrics.items() if isinstance(value, int | float)}
    return {
        name: round(float(value), 6)
        for name, value in numbers.items()
        if math.isfinite(value) and not (drop and name.startswith(drop))
    }


def _trained_on(trained: Trained) -> tuple[str, str]:
    """Say what was trained on, and what to add wherever a number of cases is given."""
    cases = (trained.data or {}).get("cases", {})
    counts = ", ".join(f"{number} for {split}" for split, number in cases.items())
    in_cases = f" ({counts})" if counts else ""
    if trained.synthetic:
        words = f"Synthetic data{in_cases}, computed by a program; they show no patient."
        return words + " Figures on them say nothing about patients.", " of synthetic data"
    if "dataset_dir" in trained.given:
        return f"Data that were given as dataset_dir{in_cases}.", ""
    if trained.data is not None:
        return f"Data that were given{in_cases}.", ""
    if trained.history:
        return (
            "The sample that is part of the bundle: far too few cases for a network that is of use.",
            " of the sample",
        )
    return "Not known: the weights came without their run.", ""
