"""The confusion matrix of an evaluation, as a table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ignite.engine import Events

from ctan_monai.engines.distributed.processes import rank
from ctan_monai.engines.handlers.case_metrics_writer import case_csv
from ctan_monai.files.json_files import write_text
from ctan_monai.metrics.confusion import ClassDetails

CONFUSION_FILE = "confusion_{}.csv"


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
        """Attach to an evaluator; where in its list of handlers does not matter."""
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
