"""Write slices.csv: the predictions and weights of a patient's slices."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events

from ctan_monai.data.cases.case import check_case_id
from ctan_monai.engines.handlers.case_metrics_writer import case_csv
from ctan_monai.engines.loop.slice_pooling import SlicePoolingInferer
from ctan_monai.files.json_files import write_text
from ctan_monai.tasks import Task, check_tasks
from ctan_monai.transforms.postprocess import activate

SLICES_FILE = "slices.csv"


class WriteSlices:
    """Evaluator handler: write ``<output_dir>/<case>/slices.csv`` for every volume whose slices were pooled.

    A row for each slice, by its index along the last axis of the case: per class of a classification the slice's own
    probability under ``<task>: <class>`` and its share in the pooled answer under ``<task>: <class> weight``.

    Args:
        inferer: of the same evaluator.
        tasks: its tasks.
        output_dir: folder of the predictions.
    """

    def __init__(self, inferer: SlicePoolingInferer, tasks: Iterable[Task], output_dir: str | Path) -> None:
        self.inferer, self.folder = inferer, Path(str(output_dir))
        self.tasks = [task for task in check_tasks(tasks) if task.classifies]

    def attach(self, engine: Engine) -> None:
        """Attach to an evaluator."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)

    def __call__(self, engine: Any) -> None:
        """Write the tables of one batch.

        Raises:
            CheckpointError: a file cannot be written.
        """
        if not self.inferer.latest:
            return
        for position, case in enumerate(engine.state.batch["case"]):
            rows: list[dict[str, Any]] = []
            for task in self.tasks:
                answers = self.inferer.latest[task.name]
                probs = activate(task, answers.logits[position].cpu()).tolist()  # D x K
                weights = answers.weights[position].cpu().tolist()
                rows = rows or [{"slice": index} for index in range(len(probs))]
                for row, prob, weight in zip(rows, probs, weights, strict=True):
                    for name, p, w in zip(task.answer_names, prob, weight, strict=True):
                        row |= {f"{task.name}: {name}": round(p, 6), f"{task.name}: {name} weight": round(w, 6)}
            write_text(case_csv(rows), self.folder / check_case_id(str(case)) / SLICES_FILE)
