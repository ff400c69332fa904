"""Write predictions: NIfTI, the challenge's CSV for OpenKBP, a table for image-level tasks."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ignite.engine import Engine, Events
from torch import Tensor

from ctan_monai.data.cases.cache import read_case_file, read_header
from ctan_monai.data.cases.case import check_case_id
from ctan_monai.data.cases.file_grid import Grid, native_grid_of, resample_to
from ctan_monai.data.datasets.openkbp.sparse import write_sparse
from ctan_monai.data.formats.nifti import write_nifti
from ctan_monai.engines.distributed.processes import of_all_processes, rank
from ctan_monai.engines.predictions.batch_parts import affine_of, answer_of, finite_logits, plain, write_answers
from ctan_monai.engines.predictions.file_grid import on_native_grid, write_masks
from ctan_monai.engines.predictions.prediction_files import file_names, is_dose
from ctan_monai.engines.predictions.predictions_index import PredictedCase, from_json, to_json, write_index
from ctan_monai.engines.runs.options import as_bool
from ctan_monai.errors import ConfigError, DataError
from ctan_monai.files.whole_folder import INDEX_FILE
from ctan_monai.metrics.base import natural_order
from ctan_monai.tasks import Task, check_tasks, region_key
from ctan_monai.transforms.postprocess import postprocess_for

logger = logging.getLogger(__name__)
Array = np.ndarray[Any, Any]
_FORMATS = ("nifti", "openkbp", "png")


class WritePredictions:
    """Evaluator handler: write the predictions of every case.

    In ``output_dir``:

    * ``<case>/<label>.nii.gz`` uint8 0/1 per label of a Segmentation; for exclusive labels ``<case>/<task>.nii.gz``
      too, the label map (0 background, then 1, 2, ... in the task's order, or ``label_values``);
    * ``<case>/<task>.nii.gz`` float32 in the task's unit for a voxel-level Regression;
    * ``<case>/<volume>.nii.gz`` for volumes of the case that viewers want beside these (``volumes``);
    * ``<case>/<label>.png`` per label of a Segmentation of images, 0 and 255, with the rows and columns of the file
      that the image was read from (formats: png);
    * ``openkbp/<case>.csv`` the dose in the challenge's sparse format (formats: openkbp);
    * ``predictions.csv`` for tasks with one answer per image;
    * ``cases.json`` (`predictions_index`), which the images are made from. It is removed first and written last:
      where it is, the folder is complete.

    NIfTI files lie on the grid of the file that the case was made of, where the case says which (`native_grid_of`), so
    that they compare with it array by array; else they have the affine of the sample's image. A file is whole or not
    there. A case that passes twice (a distributed sampler pads) is written once. Under several processes each writes
    its cases, rank 0 the tables.

    Args:
        tasks: tasks whose predictions to write.
        output_dir: folder for all of it; made if it is missing.
        formats: some of 'nifti', 'openkbp' and 'png'. 'openkbp' needs exactly one voxel-level Regression in Gy, 'png'
            2D images, and holds masks only. Images are made from the NIfTI files, else from the PNG files.
        mask_dose: set a dose (voxel-level, in Gy) to 0 outside ``<task>_region`` where the sample has it, as the
            challenge's scores expect of OpenKBP's possible_dose_mask.
        outside: by voxel-level Regression, the value that it gets outside of ``<task>_region`` where the sample has it,
            for example ``{ct: -1000}``: the air around a body.
        volumes: names of volumes to copy from the case's own file, for example [ct].
        thresholds: by task and class, from which probability on predictions.csv says yes (`operating_point`).
        label_values: by task, the number of each label in label maps, of a group the first; without it, labels count
            from 1.

    Raises:
        ConfigError: an unknown format, no task that it can hold, or two outputs with one file name.
        DataError: (when called) a case's id cannot be a folder, a prediction is not finite, the image has no affine, or
            a file cannot be written.
    """

    def __init__(
        self,
        tasks: Iterable[Task],
        output_dir: str | Path,
        formats: Sequence[str] = ("nifti",),
        mask_dose: bool | str = True,
        volumes: Sequence[str] = (),
        label_values: Mapping[str, Mapping[str, int | Sequence[int]]] | None = None,
        thresholds: Mapping[str, Mapping[str, float]] | None = None,
        outside: Mapping[str, float] | None = None,
    ) -> None:
        self.tasks = check_tasks(tasks)
        self.output_dir, self.volumes = Path(str(output_dir)), tuple(volumes)
        self._outside = self._checked_outside(outside or {}, as_bool(mask_dose, "mask_dose"))
        self.formats, self.thresholds = tuple(formats), thresholds
        self._numbers = {
            task: {label: group if isinstance(group, int) else group[0] for label, group in numbers.items()}
            for task, numbers in (label_values or {}).items()
        }
        self._names = file_names(self.tasks, self.volumes)
        self._final = {task.name: postprocess_for(task) for task in self.tasks}
        self._cases: dict[str, PredictedCase] = {}
        self._passed: dict[str, tuple[str, str | None]] = {}
        doses = [task.name for task in self.tasks if is_dose(task)]
        if not self.formats or set(self.formats) - set(_FORMATS) or ("openkbp" in self.formats and len(doses) != 1):
            raise ConfigError(
                "WritePredictions.formats",
                f"found {list(self.formats)} with the dose tasks {doses}, expected some of {list(_FORMATS)}, and for "
                "openkbp exactly one voxel-level Regression in Gy.",
                "Correct the formats or the tasks.",
            )
        masks_only = all(task.masks or not task.pixel_level for task in self.tasks)
        if "png" in self.formats and "nifti" not in self.formats and not masks_only:
            raise ConfigError("WritePredictions.formats", "png holds masks only.", "Write voxel-level values as nifti.")

    def attach(self, engine: Engine) -> None:
        """Attach to an evaluator."""
        engine.add_event_handler(Events.EPOCH_STARTED, self.start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.finish)

    def start(self, engine: Engine) -> None:
        """Remove the records of earlier cases."""
        self._cases, self._passed = {}, {}
        if rank() == 0:
            (self.output_dir / INDEX_FILE).unlink(missing_ok=True)

    def __call__(self, engine: Engine) -> None:
        """Write the cases of one batch."""
        batch, outputs = engine.state.batch, engine.state.output["pred"]
        logits = {task.name: finite_logits(outputs[task.name], task, batch) for task in self.tasks}
        final = {task.name: self._final[task.name](logits[task.name]) for task in self.tasks}
        for task in self.tasks:
            if self._masked(task, batch):
                region = plain(batch[region_key(task)]).to(final[task.name].device).bool()  # (B, 1, *S)
                final[task.name] = final[task.name].masked_fill(~region, self._outside[task.name])
        for position, case in enumerate(batch["case"]):
            if self._again(check_case_id(case), batch["file"][position] if "file" in batch else None):
                continue
            answers = {name: answer[position].cpu() for name, answer in final.items()}
            own_logits = {name: values[position].cpu() for name, values in logits.items()}
            self._cases[case] = self._write_case(case, answers, own_logits, batch, position)

    def finish(self, engine: Engine) -> None:
        """Gather the results of all processes and write the tables."""
        entries = of_all_processes([to_json(case, self.output_dir) for case in self._cases.values()])
        if rank() != 0:
            return
        found = {entry["case"]: from_json(entry, self.output_dir) for entry in entries}
        found = {case: found[case] for case in sorted(found, key=natural_order)}
        if any(not task.pixel_level for task in self.tasks):
            write_answers(self.output_dir / "predictions.csv", self.tasks, found.values(), self.thresholds)
        providers = getattr(getattr(engine, "network", None), "providers", ())  # of an exported network
        write_index(self.output_dir, self.tasks, found.values(), providers)
        logger.info("Predictions of %d cases are in %s.", len(found), self.output_dir)

    def _again(self, case: str, source: str | None) -> bool:
        """Tell whether a case was written before; refuse another case with the same files."""
        first, file = self._passed.setdefault(case.lower(), (case, source))
        if (first, file) != (case, source):
            reason = f"its predictions would have the place of {first} of {file}."
            raise DataError(source or case, case, reason, "Rename one of the two; small and capital letters are one.")
        return case in self._cases

    def _masked(self, task: Task, batch: Mapping[str, Any]) -> bool:
        return task.name in self._outside and region_key(task) in batch

    def _checked_outside(self, outside: Mapping[str, float], mask_dose: bool) -> dict[str, float]:
        """Return by task the value outside of its region, that of a dose too.

        Raises:
            ConfigError: a name is that of no voxel-level regression, or a value is no number.
        """
        names = [task.name for task in self.tasks if task.pixel_level and not task.masks]
        if wrong := {name: v for name, v in outside.items() if name not in names or not isinstance(v, int | float)}:
            remedy = f"Give numbers for some of {names}."
            raise ConfigError("WritePredictions.outside", f"{wrong} was found.", remedy)
        doses = {task.name: 0.0 for task in self.tasks if is_dose(task) and mask_dose}
        return {**doses, **{name: float(value) for name, value in outside.items()}}

    def _write_case(
        self,
        case: str,
        final: Mapping[str, Tensor],
        logits: Mapping[str, Tensor],
        batch: Mapping[str, Any],
        position: int,
    ) -> PredictedCase:
        source = Path(batch["file"][position]) if "file" in batch else None
        grid = Grid(tuple(batch["image"].shape[2:]), affine_of(batch["image"], position, case))
        own = (native_grid_of(read_header(source).meta) if source is not None else None) or grid
        files: dict[str, dict[str, Path]] = {}
        for task in self.tasks:
            if task.pixel_level:
                region = batch[region_key(task)][position][0].cpu().numpy() if self._masked(task, batch) else None
                numbers = self._numbers.get(task.name)
                around = self._outside.get(task.name, 0.0)
                arrays = on_native_grid(
                    task, final[task.name].numpy(), logits[task.name], region, grid, own, numbers, around
                )
                files[task.name] = self._write_arrays(case, task, arrays, own.affine_ras, source)
            if "openkbp" in self.formats and is_dose(task):
                write_sparse(final[task.name][0].numpy(), self.output_dir / "openkbp" / f"{case}.csv")
        self._copy_volumes(case, source)
        answers = {task.name: answer_of(task, final[task.name]) for task in self.tasks if not task.pixel_level}
        masked = tuple(task.name for task in self.tasks if self._masked(task, batch))
        return PredictedCase(case, source, {task: found for task, found in files.items() if found}, answers, masked)

    def _write_arrays(
        self, case: str, task: Task, arrays: Mapping[str, Array], affine_ras: Array, source: Path | None
    ) -> dict[str, Path]:
        """Write a task's arrays, and return the files that images are made from."""
        files = {name: self.output_dir / case / self._names[task.name, name] for name in arrays}
        as_png = write_masks(task, arrays, files, source) if "png" in self.formats else {}
        if "nifti" not in self.formats:
            return as_png
        for name, array in arrays.items():
            write_nifti(array, affine_ras, files[name])
        return files

    def _copy_volumes(self, case: str, source: Path | None) -> None:
        if not self.volumes or "nifti" not in self.formats:
            return
        if source is None:
            raise DataError(
                case, case, "the sample does not say which file it came from.", "Load it with LoadCaseFiled."
            )
        origin = read_case_file(source)
        for name in self.volumes:
            if name not in origin.volumes:
                found = f"there is no volume {name!r}, it has {list(origin.volumes)}."
                raise DataError(source, case, found, "Correct the volumes of WritePredictions.")
            grid = Grid(origin.shape, origin.affine_ras)
            own = native_grid_of(origin.meta) or grid
            values = resample_to(origin.volumes[name], grid, own)
            write_nifti(values, own.affine_ras, self.output_dir / case / self._names["", name])
