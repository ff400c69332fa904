"""Write synthetic CTs as DICOM series, with the structures on them."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from ignite.engine import Engine, Events

from ctan_monai.data.dicom.write import (
    Clock,
    CtReference,
    Origin,
    UidSource,
    new_study,
    new_uid,
    predicted_by,
    write_ct_series,
)
from ctan_monai.data.formats.ct_source import CtSource, read_source, source_path
from ctan_monai.data.formats.nifti import load_nifti
from ctan_monai.engines.distributed.processes import rank
from ctan_monai.engines.predictions.dicom_files import FilesOfCt
from ctan_monai.engines.predictions.dicom_writer import in_words, need_highdicom
from ctan_monai.engines.predictions.prediction_files import is_ct
from ctan_monai.engines.predictions.predictions_index import PredictedCase, read_index
from ctan_monai.engines.runs.run_folder import move_aside
from ctan_monai.engines.runs.training_data import trained_on
from ctan_monai.errors import ConfigError, DataError
from ctan_monai.files.whole_folder import write_whole
from ctan_monai.tasks import Task, check_tasks

_logger = logging.getLogger(__name__)
_FORMATS = ("ct", "rtstruct", "seg")
_FIRST = "CT.0001.dcm"
_FOLDER = "dicom"
Array = np.ndarray[Any, Any]


class WriteSyntheticCt:
    """Evaluator handler, after `WritePredictions`: write its NIfTI files of a case as DICOM.

    In ``output_dir``, for every case, as a whole or not at all:

    * ``<case>/dicom/CT.0001.dcm`` and so on, the synthetic CT, see `write_ct_series`;
    * ``<case>/dicom/RS.dcm`` RTSTRUCT of the structures that were found, drawn on that CT (formats: rtstruct);
    * ``<case>/dicom/SEG.dcm`` DICOM SEG on it (seg; needs highdicom).

    Where the image came as DICOM, patient, study and frame of reference are its own, and the CT refers to it; else a
    study of its own says the case's id for the patient. An earlier folder becomes ``dicom.1``. What cannot be written
    of one case is named in the log, and the others go on.

    Args:
        tasks: tasks of the network, with one voxel-level Regression in HU.
        output_dir: that of `WritePredictions`, which writes NIfTI there.
        formats: none, or ct with some of rtstruct and seg.
        model: the network in words, such as 'mr_ct'; method and encoder of the run follow.
        run_dir: the run's folder, which says what was trained on; None if there is none.
        clock: tells the time.
        uid_source: gives UIDs.

    Raises:
        ConfigError: an unknown format, one that the tasks cannot fill, or highdicom is missing.
        DataError: (when called) nothing could be written for any case.
    """

    def __init__(
        self,
        tasks: Iterable[Task],
        output_dir: str | Path,
        formats: Sequence[str] = _FORMATS,
        model: str = "",
        run_dir: str | Path | None = None,
        clock: Clock = datetime.now,
        uid_source: UidSource = new_uid,
    ) -> None:
        self.tasks, self.output_dir = check_tasks(tasks), Path(str(output_dir))
        self.formats = _checked(formats, self.tasks)
        self.model, self.run_dir = in_words(model, run_dir), run_dir
        self._said: dict[str, Any] = {"clock": clock, "uid_source": uid_source}

    def attach(self, engine: Engine) -> None:
        """Attach to an evaluator, behind `WritePredictions`."""
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Write the cases of the index."""
        if rank() != 0 or not self.formats:
            return
        origin = predicted_by(self.model, trained_on(self.run_dir).text)
        cases = read_index(self.output_dir).cases
        problems = {case.case: problem for case in cases if (problem := self._problem(case, origin))}
        for name, problem in problems.items():
            _logger.warning("%s: not written as DICOM: %s", name, problem)
        if len(problems) == len(cases):
            reason = f"nothing was written as DICOM for any of {len(cases)} cases: {' '.join({*problems.values()})}"
            raise DataError(self.output_dir, None, reason, 'Give --formats "[]" for NIfTI alone.')
        _logger.info("Synthetic CTs of %d cases are DICOM, not for clinical use.", len(cases) - len(problems))

    def _problem(self, case: PredictedCase, origin: Origin) -> str:
        """Write a case; return why it was not, '' if it was."""
        try:
            self._write(case, origin)
        except (DataError, ConfigError) as error:
            return error.reason
        return ""

    def _write(self, case: PredictedCase, origin: Origin) -> None:
        """Write a case; what cannot be drawn on its CT is named in the log.

        Raises:
            DataError: the CT cannot be written.
        """
        folder = self.output_dir / case.case / _FOLDER
        if folder.exists():
            _logger.info("%s: its earlier DICOM is now in %s", case.case, move_aside(folder).name)
        (ct,) = (task.name for task in self.tasks if is_ct(task))
        ct_hu, affine_ras = load_nifti(case.files[ct][ct], case.case)
        on_it: list[FilesOfCt] = []

        def fill(draft: Path) -> None:
            source = _source_of(case)
            study = new_study(case.case, self._said["uid_source"])
            files = write_ct_series(ct_hu, affine_ras, draft, origin, source=source, study=study, **self._said)
            grid = CtSource(case.case, ct_hu.shape, affine_ras, tuple(files))
            on_it.append(FilesOfCt(draft, grid, origin, **self._said))
            on_it[0].write_dicom(self.formats, self._masks(case), None)

        write_whole(folder, _FIRST, fill)
        for problem in on_it[0].problems:
            _logger.warning("%s: not written: %s", case.case, problem)

    def _masks(self, case: PredictedCase) -> dict[str, Array]:
        masks = {
            label: load_nifti(case.files[task.name][label], case.case)[0] > 0
            for task in self.tasks
            if task.masks
            for label in task.answer_names
        }
        if empty := [label for label, mask in masks.items() if not mask.any()]:
            _logger.warning("%s: %s not found, so not written as DICOM", case.case, ", ".join(empty))
        return masks


def _source_of(case: PredictedCase) -> CtReference | None:
    """Return the images that a case was made of; None where they are no DICOM.

    Raises:
        DataError: they cannot be read any more.
    """
    if case.source is None or not source_path(case.source).is_file():
        return None
    source = read_source(case.source)
    return CtReference.read(source.files, modality=None) if source.dicom else None


def _checked(formats: Sequence[str], tasks: Sequence[Task]) -> tuple[str, ...]:
    """Check that the tasks fit the formats, and return these."""
    wanted = () if isinstance(formats, str) or formats is None else tuple(formats)
    remedy = "Correct the formats or the tasks."
    if isinstance(formats, str) or set(wanted) - set(_FORMATS) or (wanted and "ct" not in wanted):
        reason = f"found {formats!r}, expected [] for NIfTI alone, or [ct] with some of {list(_FORMATS[1:])}."
        raise ConfigError("formats", reason, remedy)
    cts = [task.name for task in tasks if is_ct(task)]
    if wanted and len(cts) != 1:
        raise ConfigError("formats", f"ct needs one voxel-level Regression in HU, found {cts}.", remedy)
    if "seg" in wanted:
        need_highdicom()
    return wanted
