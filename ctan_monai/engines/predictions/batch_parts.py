"""Access to batches and outputs for the writers of predictions; the table of image-level predictions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from torch import Tensor

from ctan_monai.engines.predictions.predictions_index import PredictedCase
from ctan_monai.errors import DataError
from ctan_monai.files.atomic import replace_text
from ctan_monai.files.csv_cells import csv_text
from ctan_monai.tasks import Task


def plain(tensor: Tensor) -> Tensor:
    """Return a tensor without MONAI's metadata and outside of autograd."""
    return tensor.as_tensor().detach() if isinstance(tensor, MetaTensor) else tensor.detach()


def finite_logits(logits: Tensor, task: Task, batch: Mapping[str, Any]) -> Tensor:
    """Check that logits are finite and return them as a plain tensor; a mask of NaN would look empty.

    Raises:
        DataError: one is NaN or infinite.
    """
    found = plain(logits)
    if not bool(torch.isfinite(found).all()):
        cases = ", ".join(map(str, batch["case"]))
        raise DataError(
            f"prediction of {task.name}", cases, "it is NaN or infinite.", "Check the image, or use amp: false."
        )
    return found


def affine_of(image: Tensor, position: int, case: str) -> np.ndarray[Any, Any]:
    """Return the affine (4, 4), RAS, of one image of a batch.

    Raises:
        DataError: the image has none.
    """
    affine = getattr(image, "affine", None)
    if affine is None:
        raise DataError(case, case, "the image has lost its affine.", "Keep it a MetaTensor in the transforms.")
    matrix = torch.as_tensor(affine, dtype=torch.float64).cpu().numpy()
    return np.asarray(matrix[position] if matrix.ndim == 3 else matrix)


def answer_of(task: Task, final: Tensor) -> dict[str, float]:
    """Return the values of one case's image-level prediction by name.

    Args:
        task: a task with one answer per image.
        final: (K,) probabilities, or (1,) a value in the task's unit.

    Returns:
        The probability of each class, or the value under the name of its unit.
    """
    return dict(zip(task.answer_names, map(float, final.tolist()), strict=True))


def write_answers(
    path: Path,
    tasks: Iterable[Task],
    cases: Iterable[PredictedCase],
    thresholds: Mapping[str, Mapping[str, float]] | None = None,
) -> None:
    """Write the image-level predictions of all cases as a table.

    Columns: ``case``; per classification the probability of each class as ``<task>: <class>`` and, where the
    classes exclude each other, the most probable one as ``<task>``; per regression the value as ``<task> / <unit>``.
    Where a class has a threshold, ``<task>: <class> >= <threshold>`` says yes or no.

    Raises:
        DataError: the file cannot be written.
    """
    tasks = [task for task in tasks if not task.pixel_level]
    rows = [{"case": case.case, **_row(tasks, case.answers, thresholds or {})} for case in cases]
    columns = list(rows[0]) if rows else ["case"]
    replace_text(path, csv_text(columns, [list(row.values()) for row in rows]))


def _row(
    tasks: Iterable[Task],
    answers: Mapping[str, Mapping[str, float]],
    thresholds: Mapping[str, Mapping[str, float]],
) -> dict[str, str | float]:
    row: dict[str, str | float] = {}
    for task in tasks:
        answer = answers[task.name]
        if task.answer_unit:
            row[f"{task.name} / {task.answer_unit}"] = answer[task.answer_unit]
            continue
        if task.exclusive:
            row[task.name] = max(answer, key=lambda name: answer[name])
        row.update({f"{task.name}: {name}": probability for name, probability in answer.items()})
        for name, cut in thresholds.get(task.name, {}).items():
            row[f"{task.name}: {name} >= {cut:.4g}"] = "yes" if answer[name] >= cut else "no"
    return row
