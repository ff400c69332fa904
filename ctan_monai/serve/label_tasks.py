"""What MONAI Label calls tasks: an answer, a training, a score, a choice of the next image."""

from __future__ import annotations

import json
import logging
import tempfile
import uuid
from pathlib import Path
from typing import Any

import numpy as np

from ctan_monai.engines.atomic import write_json
from ctan_monai.errors import CtanError, DataError
from ctan_monai.serve.answer import Answer, figures, label_map
from ctan_monai.serve.learn import Options, learn, options_from
from ctan_monai.serve.monailabel_api import InferTask, InferType, ScoringMethod, Strategy, TrainTask
from ctan_monai.serve.predictor import Predictor
from ctan_monai.serve.results import write_result
from ctan_monai.serve.scores import Scores, most_uncertain
from ctan_monai.tasks import Segmentation, Task

_logger = logging.getLogger(__name__)
_KINDS = {"Segmentation": InferType.SEGMENTATION, "Classification": InferType.CLASSIFICATION}


class AnswerOf(InferTask):  # type: ignore[misc]  # monailabel has no types
    """One task of the network as a model: its label map or volume as the file, all tasks' numbers in the JSON.

    Args:
        predictor: answers.
        task: whose file is returned.
    """

    def __init__(self, predictor: Predictor, task: Task) -> None:
        numbers = {label: at for at, label in enumerate(task.labels, 1)} if isinstance(task, Segmentation) else {}
        kind = _KINDS.get(type(task).__name__, InferType.OTHERS)
        words = f"{task.name} ({getattr(task, 'unit', type(task).__name__)}). Research only, not for clinical use."
        super().__init__(kind, numbers, predictor.spatial_dims, words)
        self.predictor, self.task, self._numbers = predictor, task, numbers

    def is_valid(self) -> bool:
        """There are weights; else the app would not have started."""
        return True

    def __call__(self, request: dict[str, Any]) -> tuple[str | None, dict[str, Any]]:
        """Answer for the file ``request["image"]``."""
        answer = self.predictor.predict(request["image"])
        found = figures(self.predictor.tasks, answer)
        found |= {"task": self.task.name, "version": self.predictor.version, "uncertainty_mean": answer.uncertainty}
        file: str | None = None
        if isinstance(self.task, Segmentation):
            numbers, overlapping = label_map(self.task, answer.masks[self.task.name])
            found |= {"label_names": self._numbers, "voxels_of_several_labels": overlapping}
            file = _temporary(answer, numbers.astype(np.uint8) if numbers.max() < 256 else numbers)
        elif self.task.name in answer.values:
            file = _temporary(answer, answer.values[self.task.name])
        return file, found


class LearnFromLabels(TrainTask):  # type: ignore[misc]  # monailabel has no types
    """Learn a segmentation from the final labels of the datastore."""

    def __init__(self, predictor: Predictor, task: Segmentation) -> None:
        super().__init__(f"Learn {task.name} from submitted labels; kept only if it is not worse")
        self.predictor, self.task = predictor, task

    def config(self) -> dict[str, Any]:
        """Offer the options with their defaults."""
        usual = Options()
        return {
            "max_epochs": usual.epochs,
            "learning_rate": usual.learning_rate,
            "batch_size": usual.batch_size,
            "val_split": usual.val_split,
            "layers": ["task", "all"],
        }

    def stats(self) -> dict[str, Any]:
        """Return what the last training gave."""
        try:
            return dict(json.loads(self._record.read_text(encoding="utf-8")))
        except (OSError, ValueError):
            return {}

    def __call__(self, request: dict[str, Any], datastore: Any) -> dict[str, Any]:
        """Learn."""
        cases = [(Path(item["image"]), Path(item["label"])) for item in datastore.datalist()]
        result = learn(self.predictor, self.task, sorted(cases), options_from(request))
        write_json(result, self._record)
        return result

    @property
    def _record(self) -> Path:
        return self.predictor.app.root / f"training_{self.task.name}.json"


class Uncertainty(ScoringMethod):  # type: ignore[misc]  # monailabel has no types
    """Predict all images without a final label that the present network has not scored yet."""

    def __init__(self, predictor: Predictor, scores: Scores) -> None:
        super().__init__("Entropy of the prediction")
        self.predictor, self.scores = predictor, scores

    def __call__(self, request: dict[str, Any], datastore: Any) -> dict[str, Any]:
        """Score; an image that cannot be used is named and passed over."""
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
    """Label next what the network is most unsure about, of the images that have a score."""

    def __init__(self, scores: Scores) -> None:
        super().__init__("The image with the highest entropy; run the scoring method 'uncertainty' before")
        self.scores = scores

    def __call__(self, request: dict[str, Any], datastore: Any) -> dict[str, Any] | None:
        """Choose."""
        images = datastore.get_unlabeled_images()
        chosen = most_uncertain(images, self.scores.of())
        if chosen is None:
            return {"id": sorted(images)[0], "weight": 0.0} if images else None
        return {"id": chosen[0], "weight": round(chosen[1], 4)}


def _temporary(answer: Answer, array: Any) -> str:
    """Write a file that the server sends and then deletes."""
    return str(write_result(answer, array, Path(tempfile.gettempdir()) / f"ctan_label_{uuid.uuid4().hex}"))
