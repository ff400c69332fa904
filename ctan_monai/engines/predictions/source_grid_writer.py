"""Resample predictions for a CT from NIfTI to the grid of its file."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path

from ignite.engine import Engine, Events

from ctan_monai.data.cases.case import check_case_id
from ctan_monai.data.formats.ct_source import read_source, source_path
from ctan_monai.data.formats.nifti import write_nifti
from ctan_monai.engines.predictions.batch_parts import affine_of, finite_logits
from ctan_monai.engines.predictions.ct_resample import resample_to_ct
from ctan_monai.tasks import Task, check_tasks

_logger = logging.getLogger(__name__)
_FOLDER = "native_grid"


class WriteOnNativeGrid:
    """Evaluator handler: write ``<output_dir>/<case>/native_grid/<label or task>.nii.gz`` on the CT's own grid.

    Masks are 0/1, values in their unit; the dose is not set to 0 anywhere. Cases whose own grid is the network's, which
    is all that have no `ct_source` beside them, are passed over. Files of the same name are replaced, as
    `WritePredictions` does.

    Args:
        tasks: tasks of the network; image-level ones are passed over.
        output_dir: the folder of `WritePredictions`.

    Raises:
        DataError: (when called) a prediction is not finite, or a file cannot be read or written.
    """

    def __init__(self, tasks: Iterable[Task], output_dir: str | Path) -> None:
        self.tasks = tuple(task for task in check_tasks(tasks) if task.pixel_level)
        self.output_dir = Path(str(output_dir))

    def attach(self, engine: Engine) -> None:
        """Attach to an evaluator."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Write the cases of one batch."""
        batch, outputs = engine.state.batch, engine.state.output["pred"]
        for position, case in enumerate(batch["case"]):
            if not source_path(batch["file"][position]).is_file():
                continue
            logits = {task.name: finite_logits(outputs[task.name], task, batch)[position] for task in self.tasks}
            source = read_source(batch["file"][position])
            found = resample_to_ct(self.tasks, logits, affine_of(batch["image"], position, case), source)
            for name, array in found.by_file(self.tasks).items():
                write_nifti(array, source.affine_ras, self.output_dir / check_case_id(case) / _FOLDER / name)
            _logger.info("%s: on the grid of its own file in %s.", case, self.output_dir / case / _FOLDER)
