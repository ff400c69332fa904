"""Write predictions for a CT as DICOM objects on the CT's own grid."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events

from ctan_monai import __version__
from ctan_monai.data.cases.case import check_case_id
from ctan_monai.data.dicom.write import Clock, Prescription, UidSource, new_uid, predicted_by
from ctan_monai.data.formats.ct_source import CtSource, read_source
from ctan_monai.engines.distributed.processes import of_all_processes, rank
from ctan_monai.engines.predictions.batch_parts import affine_of, finite_logits
from ctan_monai.engines.predictions.ct_resample import ResampledToCt, resample_to_ct
from ctan_monai.engines.predictions.dicom_files import FORMATS, FilesOfCt
from ctan_monai.engines.predictions.prediction_files import file_names, is_dose
from ctan_monai.engines.predictions.written_table import WrittenCase, structure_values, write_tables
from ctan_monai.engines.runs.manifest import run_dirs
from ctan_monai.engines.runs.run_record import MEMBERS, RUN_FILE
from ctan_monai.engines.runs.training_data import trained_on
from ctan_monai.errors import ConfigError, DataError, install
from ctan_monai.files.json_files import read_json
from ctan_monai.metrics.base import natural_order
from ctan_monai.tasks import Task, check_tasks

_logger = logging.getLogger(__name__)


class WriteDicom:
    """Evaluator handler: resample the predictions for every CT to its own grid, and write them as DICOM.

    In ``output_dir``, for a case of `dicom_inference_list`, called by its pseudonym:

    * ``<case>/RS.dcm`` RTSTRUCT: the contours of the structures that were found (formats: rtstruct);
    * ``<case>/RD.dcm`` RTDOSE in Gy, and ``<case>/RP.dcm``, the RTPLAN without beams that it refers to (rtdose);
    * ``<case>/SEG.dcm`` DICOM SEG (seg; needs highdicom);
    * ``<case>/nifti/`` the CT, every structure (0/1) and value on the CT's grid (nifti);
    * ``written.csv`` volumes and doses of the structures; ``written.json`` the same, and what made it.

    Objects carry name and ID of the CT's patient, as a clinic needs; file names, tables and log do not. Each says
    which software, version and network predicted it, what that was trained on, that it is not for clinical use, and
    is not approved. No file is replaced. A structure that is empty gets no entry, which log and table say. What
    cannot be written for one CT is noted in the table, and the others go on.

    Args:
        tasks: tasks of the network; image-level ones are passed over.
        output_dir: folder for all of it; see `fresh_folder`.
        formats: some of 'rtstruct', 'rtdose', 'seg' and 'nifti'; of a CT that came as NIfTI only nifti is written,
            whatever is asked for.
        model: the network in words, such as 'prostate'; method and encoder of the run follow.
        run_dir: the run's folder, which says what was trained on; None if there is none.
        clock: tells the time.
        uid_source: gives UIDs.

    Raises:
        ConfigError: an unknown format, one that the tasks cannot fill, or highdicom is missing.
        DataError: (when called) a prediction is not finite, or nothing at all could be written.
    """

    def __init__(
        self,
        tasks: Iterable[Task],
        output_dir: str | Path,
        formats: Sequence[str] = ("rtstruct", "rtdose", "seg"),
        model: str = "",
        run_dir: str | Path | None = None,
        clock: Clock = datetime.now,
        uid_source: UidSource = new_uid,
    ) -> None:
        self.tasks = tuple(task for task in check_tasks(tasks) if task.pixel_level)
        self.output_dir, self.model, self.run_dir = Path(str(output_dir)), in_words(model, run_dir), run_dir
        self.formats = _checked(formats, self.tasks)
        file_names(self.tasks, ("ct", "mr"))  # refuses names that would collide
        self._said: dict[str, Any] = {"clock": clock, "uid_source": uid_source}
        self._cases: dict[str, WrittenCase] = {}

    def attach(self, engine: Engine) -> None:
        """Attach to an evaluator."""
        engine.add_event_handler(Events.EPOCH_STARTED, self.start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.finish)

    def start(self, engine: Engine) -> None:
        """Reset, and read what the network was trained on."""
        self._cases = {}
        self._trained_on = trained_on(self.run_dir)
        self._origin = predicted_by(self.model, self._trained_on.text)
        dose_gy = self._trained_on.prescription_gy
        self._prescription = None if dose_gy is None else Prescription(dose_gy, None)
        _logger.info("%s Not for clinical use.", self._trained_on.text)

    def __call__(self, engine: Engine) -> None:
        """Write the CTs of one batch."""
        batch, outputs = engine.state.batch, engine.state.output["pred"]
        logits = {task.name: finite_logits(outputs[task.name], task, batch) for task in self.tasks}
        for position, case in enumerate(batch["case"]):
            if case in self._cases:
                continue  # a distributed sampler pads
            source = read_source(batch["file"][position])
            affine_ras = affine_of(batch["image"], position, case)
            each = {name: values[position] for name, values in logits.items()}
            found = resample_to_ct(self.tasks, each, affine_ras, source)
            self._cases[case] = self._write(check_case_id(case), found, source)

    def _write(self, case: str, found: ResampledToCt, source: CtSource) -> WrittenCase:
        files = FilesOfCt(self.output_dir / case, source, self._origin, self._prescription, **self._said)
        structures = found.structures()
        dose_gy = next((found.values[task.name] for task in self.tasks if is_dose(task)), None)
        if source.dicom:
            files.write_dicom(self.formats, structures, dose_gy)
        if "nifti" in self.formats or not source.dicom:
            files.write_nifti(found.by_file(self.tasks))
        written = WrittenCase(
            case,
            {kind: path.relative_to(self.output_dir).as_posix() for kind, path in files.files.items()},
            tuple(structure_values(structures, dose_gy, source.voxel_mm3)),
            None if dose_gy is None else round(float(dose_gy.max()), 3),
            source.synthetic,
            tuple(files.problems),
        )
        _tell(written)
        return written

    def finish(self, engine: Engine) -> None:
        """Gather the results of all processes and write the tables."""
        entries = of_all_processes([case.to_json() for case in self._cases.values()])
        if rank() != 0:
            return
        by_case = {entry["case"]: entry for entry in entries}
        cases = [by_case[case] for case in sorted(by_case, key=natural_order)]
        about = {
            "software": f"ctan_monai {__version__}",
            "statement": self._origin.statement,
            "model": self.model,
            "trained_on": self._trained_on.text,
            "written": self._said["clock"]().isoformat(timespec="seconds"),
        }
        write_tables(self.output_dir, about, cases)
        if not any(entry["files"] for entry in cases):
            problems = sorted({problem for entry in cases for problem in entry["problems"]})
            reason = f"nothing was written for any of {len(cases)} CTs: {'; '.join(problems) or 'nothing was found'}."
            raise DataError(self.output_dir, None, reason, "See written.csv there.")
        _logger.info("Predictions of %d cases, not for clinical use, are in %s.", len(cases), self.output_dir)


def in_words(model: str, run_dir: str | Path | Sequence[str | Path] | None) -> str:
    """Describe the network by method and encoder, as in its run's record; an ensemble by those of all its networks."""
    folders = [] if run_dir is None else run_dirs(run_dir)
    found_records = [read_json(folder / RUN_FILE) or {} for folder in folders]
    records = [member for record in found_records for member in record.get(MEMBERS, [record])]
    found = [str(record[name]) for record in records for name in ("method", "encoder") if record.get(name)]
    known = [*(["ensemble", "of", str(len(records))] if len(records) > 1 else []), *dict.fromkeys(found)]
    return " ".join([model, *(word for word in known if word not in model.split())]).strip()


def _checked(formats: Sequence[str], tasks: Sequence[Task]) -> tuple[str, ...]:
    """Check that the tasks fit the formats, and return these."""
    wanted = () if isinstance(formats, str) else tuple(formats)
    doses = [task.name for task in tasks if is_dose(task)]
    segmentations = [task.name for task in tasks if task.masks]
    remedy = "Correct the formats or the tasks."
    if not wanted or set(wanted) - set(FORMATS):
        raise ConfigError("formats", f"found {formats!r}, expected a list of some of {list(FORMATS)}.", remedy)
    if "rtdose" in wanted and len(doses) != 1:
        raise ConfigError("formats", f"rtdose needs one voxel-level Regression in Gy, found {doses}.", remedy)
    if {"rtstruct", "seg"} & set(wanted) and not segmentations:
        raise ConfigError("formats", "rtstruct and seg need a Segmentation.", remedy)
    if "seg" in wanted:
        need_highdicom()
    return wanted


def need_highdicom(what: str = "seg") -> None:
    """Check before predicting that highdicom is installed, which some formats need.

    Raises:
        ConfigError: it is not.
    """
    from importlib.util import find_spec

    if find_spec("highdicom") is None:
        remedy = f"Run {install('dicom', 'highdicom')}; or leave {what} out of --formats."
        raise ConfigError("formats", f"{what} needs highdicom, which is not installed.", remedy)


def _tell(written: WrittenCase) -> None:
    found = ", ".join(
        f"{each.structure} {each.volume_cc:.0f} cc" + ("" if each.mean_gy is None else f" {each.mean_gy:.1f} Gy")
        for each in written.structures
        if each.status == "found"
    )
    _logger.info("%s: %s", written.case, found or "no structure was found")
    empty = [each.structure for each in written.structures if each.status == "empty"]
    if empty:
        _logger.warning("%s: %s not found, so not written", written.case, ", ".join(empty))
    for problem in written.problems:
        _logger.warning("%s: not written: %s", written.case, problem)
