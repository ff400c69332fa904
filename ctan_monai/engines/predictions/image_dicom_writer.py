"""Write predictions for DICOM images, such as ultrasound, and for CT series as DICOM SEG and SR."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from ignite.engine import Engine, Events

from ctan_monai.data.dicom.write import Clock, Origin, UidSource, new_uid, predicted_by
from ctan_monai.data.dicom.write.image_measures import size_of
from ctan_monai.data.dicom.write.image_reference import ImageReference
from ctan_monai.data.dicom.write.image_seg import write_image_seg
from ctan_monai.data.dicom.write.measurement_report import SITES, Answer, write_measurement_report
from ctan_monai.data.formats.image_masks import read_inside
from ctan_monai.engines.distributed.processes import rank
from ctan_monai.engines.predictions.dicom_writer import in_words, need_highdicom
from ctan_monai.engines.predictions.predictions_index import PredictedCase, read_index
from ctan_monai.engines.runs.training_data import trained_on
from ctan_monai.errors import ConfigError, DataError
from ctan_monai.tasks import Task, check_tasks

_logger = logging.getLogger(__name__)
FORMATS = ("seg", "sr")
_HALF = 0.5
_PNG = ".png"


class WriteImageDicom:
    """Evaluator handler: write the predictions of every DICOM image as DICOM too, beside those of `WritePredictions`.

    In ``output_dir``, for a case whose item names a DICOM file, and for all frames of a cine together, in a folder
    that is called like its file (``"cine"`` of their items); a report is about all ``"images"`` of an item, if it has
    some:

    * ``<case>/SEG.dcm`` the masks that are not empty, on the pixels of the whole image (seg);
    * ``<case>/SR.dcm`` a measurement report (TID 1500): for each class of a classification yes or no and its
      probability, and a reference to the SEG with the area and the longest diameter of what was found in mm, where the
      image says how large its pixels are (sr).

    Objects carry name and ID of the patient, as a clinic needs. Each says which software, version and network predicted
    it, what that was trained on, and that it is not for clinical use. As the masks and tables beside them, those of an
    earlier inference into the same folder are replaced. What cannot be written for one image is logged, and the others
    go on.

    Args:
        tasks: tasks of the network; image-level regressions are passed over.
        output_dir: the folder of `WritePredictions`, which writes masks as PNG.
        items: of the datalist, see `list_image_files`.
        formats: some of 'seg' and 'sr', or none.
        model: the network in words, such as 'busi'; method and encoder of the run follow.
        run_dir: the run's folder, which says what was trained on; None if there is none.
        thresholds: by task and class, from which probability on the answer is yes; else 0.5.
        site: the part of the body that all images show, 'breast'; None: the report does not say.
        clock: tells the time.
        uid_source: gives UIDs.

    Raises:
        ConfigError: an unknown format or site, or highdicom is missing and there are DICOM images.
        DataError: (when called) nothing at all could be written.
    """

    def __init__(
        self,
        tasks: Iterable[Task],
        output_dir: str | Path,
        items: Sequence[Mapping[str, Any]],
        formats: Sequence[str] = FORMATS,
        model: str = "",
        run_dir: str | Path | None = None,
        thresholds: Mapping[str, Mapping[str, float]] | None = None,
        site: str | None = None,
        clock: Clock = datetime.now,
        uid_source: UidSource = new_uid,
    ) -> None:
        self.tasks, self.output_dir, self.thresholds = check_tasks(tasks), Path(str(output_dir)), thresholds or {}
        self.formats = () if isinstance(formats, str) else tuple(formats)
        if isinstance(formats, str) or set(self.formats) - set(FORMATS):
            reason = f"{formats!r} was found, expected a list of some of {list(FORMATS)}."
            raise ConfigError("formats", reason, "Correct it, or give [] for none.")
        if site is not None and site not in SITES:
            raise ConfigError("site", f"{site!r} is unknown.", f"Use one of {list(SITES)}, or null.")
        self.site = site
        self._items = {str(item["case"]): item for item in items if "dicom" in item} if self.formats else {}
        self._said: dict[str, Any] = {"clock": clock, "uid_source": uid_source}
        self.model, self.run_dir = in_words(model, run_dir), run_dir
        if self._items:
            need_highdicom(" and ".join(self.formats))

    def attach(self, engine: Engine) -> None:
        """Attach to an evaluator, after `WritePredictions`."""
        engine.add_event_handler(Events.COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Write the objects of all cases."""
        if rank() != 0 or not self._items:
            return
        origin = predicted_by(self.model, trained_on(self.run_dir).text)
        problems = []
        files: dict[str, list[PredictedCase]] = {}
        for case in read_index(self.output_dir).cases:
            if case.case in self._items:
                files.setdefault(self._name_of(case), []).append(case)
        for name, cases in files.items():
            try:
                self._write(name, cases, origin)
            except DataError as error:
                problems.append(error)
                _logger.warning("%s: no DICOM written: %s", name, error.reason)
        if len(problems) == len(files):
            raise problems[0]
        _logger.info("DICOM (%s) of %d files, not for clinical use, in %s.", ", ".join(self.formats),
                     len(files) - len(problems), self.output_dir)  # fmt: skip

    def _name_of(self, case: PredictedCase) -> str:
        return str(self._items[case.case].get("cine", case.case))

    def _write(self, name: str, cases: list[PredictedCase], origin: Origin) -> None:
        """Write the objects of one file: of an image, or of the frames of a cine."""
        for folder in {name, *(case.case for case in cases)}:  # earlier versions wrote those of each frame
            for kind in FORMATS:
                (self.output_dir / folder / f"{kind.upper()}.dcm").unlink(missing_ok=True)
        paths = {kind: self.output_dir / name / f"{kind.upper()}.dcm" for kind in FORMATS}
        items = {case.case: self._items[case.case] for case in cases}
        cases = sorted(cases, key=lambda case: int(items[case.case]["frame"]))
        frames = [int(items[case.case]["frame"]) for case in cases]
        first = items[cases[0].case]
        others = [path for path in first.get("images", ()) if path != first["dicom"]]
        reference = ImageReference.read(first["dicom"], frames if frames[0] else (), others)
        masks = _masks_of(cases)
        found = any(mask.any() for mask in masks.values())
        if "seg" in self.formats and found:
            write_image_seg(masks, reference, paths["seg"], origin, **self._said)
        elif "seg" in self.formats:
            _logger.info("%s: nothing was found, so no SEG is written", name)
        answers = [
            [answer for task in self.tasks if task.classifies for answer in self._answers(task, case)] for case in cases
        ]
        if "sr" in self.formats and answers[0]:
            seg = paths["seg"] if "seg" in self.formats and found else None
            sizes = [
                {label: size for label, mask in masks.items() if (size := size_of(mask[at], reference.header))}
                for at in range(len(cases))
            ]
            write_measurement_report(
                answers, reference, paths["sr"], origin, seg, site=self.site, sizes=sizes, **self._said
            )

    def _answers(self, task: Task, case: PredictedCase) -> list[Answer]:
        probs = np.array([case.answers[task.name][label] for label in task.answer_names])
        if task.exclusive:
            first = int(probs.argmax())
            rule = "if it is the most probable class"
            return [
                Answer(label, float(prob), at == first, rule)
                for at, (label, prob) in enumerate(zip(task.answer_names, probs, strict=True))
            ]
        cuts = [self.thresholds.get(task.name, {}).get(label, _HALF) for label in task.answer_names]
        return [
            Answer(label, float(prob), bool(prob >= cut), f"from a probability of {cut:.4g} on")
            for label, prob, cut in zip(task.answer_names, probs, cuts, strict=True)
        ]


def _masks_of(cases: Sequence[PredictedCase]) -> dict[str, npt.NDArray[np.bool_]]:
    """Read the masks of cases, by label, (cases, rows, columns)."""
    files = [
        {label: path for files in case.files.values() for label, path in files.items() if path.suffix == _PNG}
        for case in cases
    ]
    return {
        label: np.stack([read_inside(of_case[label], case.case) for case, of_case in zip(cases, files, strict=True)])
        for label in files[0]
    }
