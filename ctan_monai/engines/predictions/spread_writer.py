"""Write how far the answers of an ensemble, or for mirror images, lie apart."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events
from torch import Tensor

from ctan_monai.data.cases.cache import read_header
from ctan_monai.data.cases.case import check_case_id
from ctan_monai.data.cases.file_grid import Grid, native_grid_of, resample_to
from ctan_monai.data.formats.nifti import write_nifti
from ctan_monai.engines.distributed.processes import of_all_processes, rank
from ctan_monai.engines.handlers.case_metrics_writer import case_csv
from ctan_monai.engines.predictions.batch_parts import affine_of, finite_logits
from ctan_monai.engines.predictions.prediction_files import file_names, is_dose
from ctan_monai.errors import ConfigError
from ctan_monai.files.json_files import write_text
from ctan_monai.metrics.base import natural_order
from ctan_monai.metrics.dose_values import parse_dose_value
from ctan_monai.metrics.dvh import MM3_PER_CC
from ctan_monai.tasks import Task, check_tasks
from ctan_monai.transforms.postprocess import activate, postprocess_for

SPREAD_FILE = "spread.csv"
Array = np.ndarray[Any, Any]
_DOSE_METRICS = ("Dmean", "D2%", "D50%", "D95%", "D98%")


class WriteSpread:
    """Evaluator handler: write the spread of the answers that a prediction is the mean of; nothing where there is one.

    In ``output_dir``, beside what `WritePredictions` writes:

    * ``<case>/<label>_sd.nii.gz``, ``<case>/<task>_sd.nii.gz`` float32: the standard deviation over answers (n - 1) of
      each voxel's probability, or value in the task's unit;
    * ``spread.csv``: for each case, structure and statistic what the mean answer has, and mean, standard deviation,
      lowest and highest over answers. Volumes and Dice are of each answer's own masks; dose statistics (and means of
      other values) are of each answer's values inside the mean answer's mask, so that they tell of the dose alone. Of
      tasks with one answer per image, each probability or value.

    Answers are those of an ensemble's networks, each for every view (`MirrorViews`). That they agree does not say that
    they are right: what all networks learned alike is in none of it.

    Args:
        tasks: of the networks.
        output_dir: the folder.
        dose_metrics: what to read from DVHs; see `parse_dose_value`.

    Raises:
        ConfigError: a metric is unknown, or relative to a prescription.
        DataError: (when called) an answer is not finite, or a file cannot be written.
    """

    def __init__(
        self, tasks: Iterable[Task], output_dir: str | Path, dose_metrics: Sequence[str] = _DOSE_METRICS
    ) -> None:
        self.tasks, self.folder = check_tasks(tasks), Path(str(output_dir))
        self._metrics = [parse_dose_value(text) for text in dose_metrics]
        if relative := [metric.name for metric in self._metrics if metric.needs_prescription]:
            raise ConfigError("WriteSpread.dose_metrics", f"{relative} needs a prescription.", "Name the dose: V57Gy.")
        self._names = file_names(self.tasks)
        self._final = {task.name: postprocess_for(task) for task in self.tasks}
        self._rows: dict[str, list[dict[str, Any]]] = {}

    def attach(self, engine: Engine) -> None:
        """Attach to an evaluator."""
        engine.add_event_handler(Events.EPOCH_STARTED, self.start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.finish)

    def start(self, engine: Engine) -> None:
        """Remove what an earlier prediction left."""
        self._rows = {}
        if rank() == 0:
            (self.folder / SPREAD_FILE).unlink(missing_ok=True)

    def __call__(self, engine: Any) -> None:
        """Write the cases of one batch."""
        batch, output = engine.state.batch, engine.state.output
        if "answers" not in output:
            return
        answers = [{task.name: finite_logits(one[task.name], task, batch) for task in self.tasks} for one in
                   output["answers"]]  # fmt: skip
        mean = {task.name: finite_logits(output["pred"][task.name], task, batch) for task in self.tasks}
        for position, case in enumerate(map(str, batch["case"])):
            if check_case_id(case) in self._rows:
                continue
            parts = [{name: logits[position : position + 1].cpu() for name, logits in one.items()} for one in answers]
            whole = {name: logits[position : position + 1].cpu() for name, logits in mean.items()}
            affine_ras = affine_of(batch["image"], position, case)
            source = Path(batch["file"][position]) if "file" in batch else None
            self._write_deviations(case, parts, Grid(tuple(batch["image"].shape[2:]), affine_ras), source)
            self._rows[case] = [{"case": case, **row} for row in self._statistics(whole, parts, affine_ras)]

    def finish(self, engine: Engine) -> None:
        """Gather the rows of all processes and write the table."""
        found: dict[str, list[dict[str, Any]]] = {}
        for entry in of_all_processes([self._rows]):
            found |= entry
        if rank() == 0 and found:
            rows = [row for case in sorted(found, key=natural_order) for row in found[case]]
            write_text(case_csv(rows), self.folder / SPREAD_FILE)

    def _write_deviations(
        self, case: str, parts: Sequence[Mapping[str, Tensor]], grid: Grid, source: Path | None
    ) -> None:
        native = (native_grid_of(read_header(source).meta) if source is not None else None) or grid
        for task in self.tasks:
            if not task.pixel_level:
                continue
            values = [(activate if task.masks else self._value)(task, part[task.name])[0] for part in parts]
            deviation = torch.stack(values).std(0).numpy()  # (K, *S), n - 1
            channels = deviation[-len(task.answer_names) :]  # without the background
            for name, channel in zip(task.answer_names, channels, strict=True):
                file = self._names[task.name, name].replace(".nii.gz", "_sd.nii.gz")
                array = np.maximum(resample_to(channel.astype(np.float32), grid, native), 0.0)
                write_nifti(array, native.affine_ras, self.folder / case / file)

    def _value(self, task: Task, logits: Tensor) -> Tensor:
        return self._final[task.name](logits)

    def _statistics(
        self, whole: Mapping[str, Tensor], parts: Sequence[Mapping[str, Tensor]], affine_ras: Array
    ) -> list[dict[str, Any]]:
        answers = [{task.name: self._arrays(task, part) for task in self.tasks} for part in (whole, *parts)]
        voxel_mm3 = float(abs(np.linalg.det(affine_ras[:3, :3])))
        masks = {label: mask for task in self.tasks if task.masks for label, mask in answers[0][task.name].items()}
        rows: list[dict[str, Any]] = []
        for task in self.tasks:
            for name in task.answer_names:
                own = [answer[task.name][name] for answer in answers]
                if not task.pixel_level:
                    rows.append(_row(task, name, "", task.answer_unit, [float(value) for value in own]))
                elif task.masks:
                    rows += _mask_rows(task, name, own, voxel_mm3)
                else:
                    for label, mask in masks.items():
                        rows += self._value_rows(task, label, mask, own, voxel_mm3)
        return rows

    def _arrays(self, task: Task, part: Mapping[str, Tensor]) -> dict[str, Array]:
        final = self._final[task.name](part[task.name])[0].numpy()
        return dict(zip(task.answer_names, final, strict=True))

    def _value_rows(
        self, task: Task, label: str, mask: Array, values: Sequence[Array], voxel_mm3: float
    ) -> list[dict[str, Any]]:
        """Return the statistics of values inside a structure."""
        if not mask.any():
            return []
        inside = [value[mask].astype(np.float64) for value in values]
        if not is_dose(task):
            return [_row(task, label, "mean", task.answer_unit, [float(part.mean()) for part in inside])]
        return [
            _row(task, label, metric.name, metric.unit, [metric.read(part, voxel_mm3) for part in inside])
            for metric in self._metrics
        ]


def _mask_rows(task: Task, label: str, masks: Sequence[Array], voxel_mm3: float) -> list[dict[str, Any]]:
    """Return volume (area in pixels of an image), and Dice with the mean answer's mask."""
    volume = masks[0].ndim == 3
    size = voxel_mm3 / MM3_PER_CC if volume else 1.0
    sizes = [float(mask.sum()) * size for mask in masks]
    rows = [_row(task, label, "volume" if volume else "area", "cc" if volume else "pixels", sizes)]
    if not masks[0].any():
        return rows
    dice = [2.0 * float((mask & masks[0]).sum()) / float(mask.sum() + masks[0].sum()) for mask in masks]
    return [*rows, _row(task, label, "Dice with the mean", "", dice)]


def _row(task: Task, name: str, statistic: str, unit: str, values: Sequence[float]) -> dict[str, Any]:
    """Return a row of the table.

    Args:
        task: of the values.
        name: structure, class or task.
        statistic: what of it.
        unit: of the values.
        values: the mean answer's, then those of the answers.
    """
    own = np.array(values[1:])
    return {
        "task": task.name,
        "of": name,
        "statistic": statistic or ("value" if task.answer_unit else "probability"),
        "unit": unit,
        "mean_answer": round(float(values[0]), 5),
        "answers": len(own),
        "mean": round(float(own.mean()), 5),
        "sd": round(float(own.std(ddof=1)), 5),
        "lowest": round(float(own.min()), 5),
        "highest": round(float(own.max()), 5),
    }
