"""predictions.csv: one row per case for the tasks that have one answer per image."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path

from torch import Tensor

from ctan_monai.engines.predictions.predictions_index import PredictedCase
from ctan_monai.files.atomic import replacing
from ctan_monai.files.csv_cells import safe_cell
from ctan_monai.tasks import Classification, Regression, Task


def answer_of(task: Task, final: Tensor) -> dict[str, float]:
    """Name the numbers of one case's final answer.

    Args:
        task: a task with one answer per image.
        final: (K,) probabilities, or (1,) a value in the task's unit.

    Returns:
        The probability of each class, or the value under the name of its unit.
    """
    names = [task.unit] if isinstance(task, Regression) else list(getattr(task, "classes", ()))
    return dict(zip(names, map(float, final.tolist()), strict=True))


def write_answers(path: Path, tasks: Iterable[Task], cases: Iterable[PredictedCase]) -> None:
    """Write the answers of all cases as a table.

    Columns: ``case``; per classification the probability of each class as ``<task>: <class>`` and, where the
    classes exclude each other, the most probable one as ``<task>``; per regression the value as ``<task> / <unit>``.

    Raises:
        DataError: the file cannot be written.
    """
    tasks = [task for task in tasks if not task.pixel_level]
    rows = [{"case": case.case, **_row(tasks, case.answers)} for case in cases]
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        columns = list(rows[0]) if rows else ["case"]
        writer.writerow([safe_cell(column) for column in columns])
        writer.writerows([safe_cell(row[column]) for column in columns] for row in rows)


def _row(tasks: Iterable[Task], answers: Mapping[str, Mapping[str, float]]) -> dict[str, str | float]:
    row: dict[str, str | float] = {}
    for task in tasks:
        answer = answers[task.name]
        if isinstance(task, Regression):
            row[f"{task.name} / {task.unit}"] = answer[task.unit]
            continue
        if isinstance(task, Classification) and task.exclusive:
            row[task.name] = max(answer, key=lambda name: answer[name])
        row.update({f"{task.name}: {name}": probability for name, probability in answer.items()})
    return row
