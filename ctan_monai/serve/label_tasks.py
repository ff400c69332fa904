"""MONAI Label's tasks: inference, training, scoring, and the choice of the next image."""

from __future__ import annotations

import logging
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

import numpy as np

from ctan_monai.errors import CtanError, DataError
from ctan_monai.files.json_files import read_json, write_json
from ctan_monai.serve.answer import answer_values, label_map
from ctan_monai.serve.judge import Scores, most_uncertain
from ctan_monai.serve.labeled import Labeled
from ctan_monai.serve.learn import Options, learn, options_from
from ctan_monai.serve.monailabel_api import InferTask, InferType, ScoringMethod, Strategy, TrainTask
from ctan_monai.serve.names import said_of
from ctan_monai.serve.predictor import Predictor
from ctan_monai.serve.results import wanted_from, write_result
from ctan_monai.tasks import Segmentation, Task

_logger = logging.getLogger(__name__)
_KNOWN = "known_labels"  # those that were there when weights were kept, by image


class AnswerOf(InferTask):  # type: ignore[misc]  # monailabel has no types
    """Inference task: a label map or volume as the file, all tasks' values in the JSON.

    Args:
        predictor: answers.
        task: whose file is returned.
    """

    def __init__(self, predictor: Predictor, task: Task) -> None:
        numbers = {label: at for at, label in enumerate(task.answer_names, 1)} if task.masks else {}
        other = InferType.CLASSIFICATION if task.classifies else InferType.OTHERS
        kind = InferType.SEGMENTATION if task.masks else other
        words = f"{task.name} ({task.answer_unit or type(task).__name__}). Research only, not for clinical use."
        super().__init__(kind, numbers, predictor.spatial_dims, words)
        self.predictor, self.task, self._numbers = predictor, task, numbers

    def is_valid(self) -> bool:
        """Return True: without weights the app would not have started."""
        return True

    def __call__(self, request: dict[str, Any]) -> tuple[str | None, dict[str, Any]]:
        """Predict the file ``request["image"]``."""
        wanted = wanted_from(request)
        answer = self.predictor.predict(request["image"])
        found = answer_values(self.predictor.tasks, answer)
        found |= {"task": self.task.name, "version": self.predictor.version, "uncertainty_mean": answer.uncertainty}
        file: str | None = None
        if self.task.masks:
            numbers, overlapping = label_map(self.task, answer.masks[self.task.name])
            found |= {"label_names": self._numbers, "voxels_of_several_labels": overlapping}
            found["labels_in_file"] = [name for name, number in self._numbers.items() if (numbers == number).any()]
            array = numbers.astype(np.uint8) if numbers.max() < 256 else numbers
            file = str(write_result(answer, array, _temporary(), wanted, self._numbers))
        elif self.task.name in answer.values:
            file = str(write_result(answer, answer.values[self.task.name], _temporary(), wanted))
        return file, found


class LearnFromLabels(TrainTask):  # type: ignore[misc]  # monailabel has no types
    """Train a segmentation on the final labels of the datastore."""

    def __init__(self, predictor: Predictor, task: Segmentation) -> None:
        super().__init__(f"Learn {task.name} from submitted labels; kept only if cases labeled before are not worse")
        self.predictor, self.task = predictor, task

    def config(self) -> dict[str, Any]:
        """Return the options with their defaults."""
        usual = Options()
        return {
            "max_epochs": usual.epochs,
            "learning_rate": usual.learning_rate,
            "batch_size": usual.batch_size,
            "val_split": usual.val_split,
            "layers": ["task", "all"],
            "keep_unjudged": usual.keep_unjudged,
        }

    def stats(self) -> dict[str, Any]:
        """Return the result or progress of the last training, and the three values that viewers show as bars.

        ``best_metric`` is the Dice of the present weights, as far as a case could decide; ``total_time`` is there once
        the training is over.
        """
        found = {"best_metric": 0.0, "epoch": 0, "total_epochs": Options().epochs, **(read_json(self._record) or {})}
        return {key: value for key, value in found.items() if key != _KNOWN}

    def __call__(self, request: dict[str, Any], datastore: Any) -> dict[str, Any]:
        """Train on the submitted labels."""
        start, options = time.monotonic(), options_from(request)
        earlier = read_json(self._record) or {}
        known = dict(earlier.get(_KNOWN) or {})
        cases = {name: case.since(known.get(name)) for name, case in labeled_images(datastore)}
        running = {"best_metric": earlier.get("best_metric", 0.0), "total_epochs": options.epochs, _KNOWN: known}

        def progress(epoch: int) -> None:
            write_json({**running, "epoch": epoch}, self._record)

        try:
            result = learn(self.predictor, self.task, list(cases.values()), options, progress)
        except CtanError as error:
            why = said_of(error)["error"]
            write_json({**running, "epoch": 0, "total_time": _seconds(start), "kept": False, "why": why}, self._record)
            raise
        if result["kept"]:
            running[_KNOWN] = {name: case.key for name, case in cases.items()}
        metric = result["dice_after" if result["kept"] else "dice_before"]
        best = {} if metric is None else {"best_metric": metric}
        result |= {**running, "epoch": options.epochs, "total_time": _seconds(start), **best}
        write_json(result, self._record)
        return {key: value for key, value in result.items() if key != _KNOWN}

    @property
    def _record(self) -> Path:
        return self.predictor.app.root / f"training_{self.task.name}.json"


def labeled_images(datastore: Any) -> list[tuple[str, Labeled]]:
    """List ids and final labels of a datastore; the labels of a DICOMweb server count as submitted."""
    if hasattr(datastore, "labeled"):
        return list(datastore.labeled())
    found = []
    for item in datastore.datalist():
        image, label = Path(item["image"]), Path(item["label"])
        name = datastore._to_id(image.name)[0]
        info = datastore.get_label_info(name, "final")
        found.append((name, Labeled(image, label, info, True, f"{info.get('ts')}")))
    return sorted(found, key=lambda pair: pair[0])


def _seconds(start: float) -> str:
    return f"{time.monotonic() - start:.1f} s"


class Uncertainty(ScoringMethod):  # type: ignore[misc]  # monailabel has no types
    """Score all images without a final label that the current network has not scored."""

    def __init__(self, predictor: Predictor, scores: Scores) -> None:
        super().__init__("Entropy of the prediction")
        self.predictor, self.scores = predictor, scores

    def __call__(self, request: dict[str, Any], datastore: Any) -> dict[str, Any]:
        """Score the images; unusable ones are logged and skipped."""
        version, failed = self.predictor.version, {}
        known = self.scores.of(version)
        for image in [name for name in datastore.get_unlabeled_images() if name not in known]:
            try:
                score = self.predictor.predict(datastore.get_image_uri(image)).uncertainty
                if score is not None:
                    self.scores.put(image, version, score)
            except CtanError as error:
                _logger.warning("%s", error)
                failed[image] = error.reason if isinstance(error, DataError) else type(error).__name__
        return {"scores": self.scores.of(version), "failed": failed}


class MostUncertain(Strategy):  # type: ignore[misc]  # monailabel has no types
    """Choose the scored image with the highest uncertainty to label next."""

    def __init__(self, scores: Scores) -> None:
        super().__init__("The image with the highest entropy; run the scoring method 'uncertainty' before")
        self.scores = scores

    def __call__(self, request: dict[str, Any], datastore: Any) -> dict[str, Any] | None:
        """Choose the next image."""
        images = datastore.get_unlabeled_images()
        chosen = most_uncertain(images, self.scores.of())
        if chosen is None:
            return {"id": sorted(images)[0], "weight": 0.0} if images else None
        return {"id": chosen[0], "weight": round(chosen[1], 4)}


def _temporary() -> Path:
    """Return a temporary path, without suffix, of a file that the server sends and then deletes."""
    return Path(tempfile.gettempdir()) / f"ctan_label_{uuid.uuid4().hex}"
