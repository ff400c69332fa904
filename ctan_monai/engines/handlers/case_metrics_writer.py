"""Write an evaluation's results: one row per case, metrics over all cases, confusion matrices."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ignite.engine import Events

from ctan_monai.engines.distributed.processes import rank
from ctan_monai.errors import ConfigError
from ctan_monai.files.csv_cells import cell, csv_text
from ctan_monai.files.json_files import write_json, write_text
from ctan_monai.metrics.base import COMPLETE, known_mean
from ctan_monai.metrics.confusion import ClassDetails

PER_CASE_FILE, SUMMARY_FILE = "per_case.csv", "summary.json"
_ANSWERS = re.compile("_(label|prob)(_|$)")  # of classifications: the mean of a class's number says nothing
CONFUSION_FILE = "confusion_{}.csv"


class WriteCaseMetrics:
    """Evaluator handler: write the results of the evaluator's `MultiTaskMetrics`, in process 0.

    ``<output_dir>/per_case.csv`` has a row per case, an empty cell where an answer is unknown; no text in it can be
    taken for a formula. ``<output_dir>/summary.json`` has the number of cases, for each measured column the number
    of cases in which it is known, the metrics, null where nothing is known, and the mean of each column over the
    complete cases, those in which every label of every task is known (docs/adr/0002, A18).

    Args:
        output_dir: where to write.
        prefix: what the names of both files begin with.
    """

    def __init__(self, output_dir: str | Path, prefix: str = "") -> None:
        self.folder, self.prefix = Path(str(output_dir)), prefix

    def attach(self, engine: Any) -> None:
        """Attach to an evaluator, at any place in its list of handlers."""
        engine.add_event_handler(Events.COMPLETED, self)

    def __call__(self, engine: Any) -> None:
        """Write both files.

        Raises:
            ConfigError: the evaluator has no `MultiTaskMetrics`.
            CheckpointError: a file cannot be written.
        """
        if "cases" not in engine.state.metric_details:
            raise ConfigError(
                "evaluator", "WriteCaseMetrics found no metrics.", "Put MultiTaskMetrics among its val_handlers."
            )
        if rank() == 0:
            rows = engine.state.metric_details["cases"]
            self.write(rows, engine.state.metrics)

    def write(self, rows: Sequence[Mapping[str, Any]], metrics: Mapping[str, float]) -> None:
        """Write rows and metrics.

        Raises:
            CheckpointError: a file cannot be written.
        """
        write_text(case_csv(rows), self.folder / f"{self.prefix}{PER_CASE_FILE}")
        complete = [row for row in rows if row.get(COMPLETE) == 1]
        summary = {
            "cases": len(rows),
            "known_cases": _known_cases(rows),
            "metrics": dict(metrics),
            "means_over_complete_cases": _means(complete),
        }
        write_json(summary, self.folder / f"{self.prefix}{SUMMARY_FILE}")


def case_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Format rows as CSV; unknown numbers are empty cells.

    >>> print(case_csv([{"case": "a", "dice": 0.5}, {"case": "=b", "dice": float("nan")}]), end="")
    case,dice
    a,0.5
    '=b,
    """
    columns = list(dict.fromkeys(key for row in rows for key in row))
    return csv_text(columns, [[row.get(column) for column in columns] for row in rows])


def _means(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    columns = [column for column in _known_cases(rows) if column != COMPLETE and not _ANSWERS.search(column)]
    numbers = {column: [row[column] for row in rows if isinstance(row.get(column), int | float)] for column in columns}
    return {column: known_mean(values) for column, values in numbers.items()}


def _known_cases(rows: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    columns = dict.fromkeys(key for row in rows for key in row if key != "case")
    return {column: sum(cell(row.get(column)) != "" for row in rows) for column in columns}


class WriteConfusion:
    """Evaluator handler: write ``<output_dir>/confusion_<task>.csv``, in process 0.

    A row for each true class, under ``truth``, and a column for each answer: numbers of cases.

    Args:
        details: a metric of the same evaluator's `MultiTaskMetrics`.
        output_dir: where to write.
    """

    def __init__(self, details: ClassDetails, output_dir: str | Path) -> None:
        self.details, self.folder = details, Path(str(output_dir))

    def attach(self, engine: Any) -> None:
        """Attach to an evaluator, at any place in its list of handlers."""
        engine.add_event_handler(Events.COMPLETED, self)

    def __call__(self, engine: Any) -> None:
        """Write the table.

        Raises:
            CheckpointError: it cannot be written.
        """
        if rank() == 0:
            task = self.details.task
            rows = [
                {"truth": name, **dict(zip(task.classes, counts, strict=True))}
                for name, counts in zip(task.classes, self.details.matrix().tolist(), strict=True)
            ]
            write_text(case_csv(rows), self.folder / CONFUSION_FILE.format(task.name))
