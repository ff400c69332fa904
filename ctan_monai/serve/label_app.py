"""The MONAI Label app of a bundle.

Of use only where the package monailabel is, in an environment of its own; see `monailabel_api`.
"""

from __future__ import annotations

import os
import tempfile
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import torch

from ctan_monai.errors import DataError
from ctan_monai.serve.answer import as_answer
from ctan_monai.serve.app_folder import AppFolder, read_app
from ctan_monai.serve.datastore import CheckedDatastore
from ctan_monai.serve.dicomweb import name_what_is_there, with_named_segments
from ctan_monai.serve.guard import Guard
from ctan_monai.serve.judge import Scores
from ctan_monai.serve.label_tasks import AnswerOf, LearnFromLabels, MostUncertain, Uncertainty
from ctan_monai.serve.monailabel_api import DICOMWebDatastore, MONAILabelApp, Random, settings
from ctan_monai.serve.names import check_id, check_name, is_received
from ctan_monai.serve.predictor import Predictor
from ctan_monai.serve.results import write_result
from ctan_monai.serve.sizes import check_received


class BundleApp(MONAILabelApp):  # type: ignore[misc]  # monailabel has no types
    """MONAI Label app that serves a bundle.

    Args:
        app_dir: the folder, see `write_app`.
        studies: folder of images, or address of a DICOMweb server.
        conf: key-value pairs of the command line, none of which is needed.
    """

    def __init__(self, app_dir: str, studies: str, conf: dict[str, str]) -> None:
        self.folder = read_app(app_dir)
        self.predictor = Predictor(self.folder)
        self.scores = Scores(self.folder.scores)
        name = f"ctan_monai: {self.folder.bundle}"
        super().__init__(app_dir, studies, conf, name=name, description=f"All tasks of the bundle {self.folder.bundle}")
        self._auto_update_scoring = False  # a pass over all images at every start, and after every label
        stand_guard(self.folder, (app_dir, studies, _sessions()))

    def init_datastore(self) -> Any:
        """Create the datastore, with checks if it is a folder."""
        if self.studies.startswith(("http://", "https://")):
            store = super().init_datastore()
            named = isinstance(store, DICOMWebDatastore)
            return with_named_segments(store, self.predictor.segmentations) if named else store
        return CheckedDatastore(
            self.studies,
            self.predictor.segmentations,
            self.folder.upload_mib,
            extensions=settings.MONAI_LABEL_DATASTORE_FILE_EXT,
            auto_reload=settings.MONAI_LABEL_DATASTORE_AUTO_RELOAD,
            read_only=settings.MONAI_LABEL_DATASTORE_READ_ONLY,
        )

    def init_infers(self) -> dict[str, Any]:
        """Create an inference task for each task of the network."""
        return {task.name: AnswerOf(self.predictor, task) for task in self.predictor.tasks}

    def init_trainers(self) -> dict[str, Any]:
        """Create a training task for each segmentation."""
        return {task.name: LearnFromLabels(self.predictor, task) for task in self.predictor.segmentations}

    def init_strategies(self) -> dict[str, Any]:
        """Create the strategies that choose the next image to label."""
        return {"random": Random(), "uncertain": MostUncertain(self.scores)}

    def init_scoring_methods(self) -> dict[str, Any]:
        """Create the scoring method, which computes the uncertainty of each image."""
        return {"uncertainty": Uncertainty(self.predictor, self.scores)}

    def infer(self, request: dict[str, Any], datastore: Any = None) -> Any:
        """Predict an image of the datastore, or a received one."""
        with as_answer():
            image = self._check(request)
        with as_answer():
            result = super().infer(request, datastore)
        params = result["params"]
        name_what_is_there(request, params.get("labels_in_file", ()))
        params["saved"] = {}
        if image in self.datastore().list_images():
            with as_answer():
                params["saved"] = self._save_volumes(image)
            if params["uncertainty_mean"] is not None:
                self.scores.put(image, self.predictor.version, params["uncertainty_mean"])
        return result

    def batch_infer(self, request: dict[str, Any], datastore: Any = None) -> Any:
        """Predict many images, also without a GPU."""
        several = bool(request.get("multi_gpu", True)) and torch.cuda.is_available()
        return super().batch_infer({**request, "multi_gpu": several}, datastore)

    def train(self, request: dict[str, Any]) -> Any:
        """Train on the submitted labels."""
        with as_answer():
            _known("model that learns", request.get("model"), self._trainers)
            return super().train(request)

    def next_sample(self, request: dict[str, Any]) -> Any:
        """Choose the next image."""
        with as_answer():
            _known("strategy", request.get("strategy") or "random", self._strategies)
        return super().next_sample(request)

    def scoring(self, request: dict[str, Any], datastore: Any = None) -> Any:
        """Score the images."""
        with as_answer():
            _known("scoring method", request.get("method"), self._scoring_methods)
        return super().scoring(request, datastore)

    def _check(self, request: Mapping[str, Any]) -> str:
        """Check that the request's image may be read, and return it."""
        image = request.get("image")
        _known("model", request.get("model"), self._infers)
        check_name(request.get("label_tag") or "original", "label_tag")
        if isinstance(image, str) and is_received(image, _sessions()):
            check_received(Path(image), self.folder.upload_mib)
            return image
        if check_id(image, "image") not in self.datastore().list_images():
            raise DataError("image", None, "there is no such image.", "Ask for one that the datastore lists.")
        return str(image)

    def _save_volumes(self, image: str) -> dict[str, Any]:
        """Save volumes beside an image under the tags of their tasks, once for each network."""
        store, saved = self.datastore(), {}
        if not isinstance(store, CheckedDatastore):
            return {}  # a DICOMweb server takes labels only
        answer = self.predictor.predict(store.get_image_uri(image))  # the one that was just given
        for name, values in answer.values.items():
            info = store.get_label_info(image, name) or {}
            if info.get("version") != self.predictor.version and answer.affine_ras is not None:
                stem = Path(tempfile.gettempdir()) / f"ctan_label_{uuid.uuid4().hex}"
                path = write_result(answer, values, stem)
                store.save_result(image, path, name, {"task": name, "version": self.predictor.version})
                path.unlink()
            saved[name] = {"tag": name, "get": f"/datastore/label?label={quote_plus(image)}&tag={name}"}
        return saved


def _known(kind: str, name: Any, known: Mapping[str, Any]) -> None:
    """Refuse the name of something that the app does not have."""
    if not isinstance(name, str) or name not in known:
        raise DataError(kind.split()[0], None, f"there is no such {kind}.", f"Ask one of {list(known)}.")


def _sessions() -> str:
    """Return the folder of MONAI Label's session images."""
    own = os.path.join(os.path.expanduser("~"), ".cache", "monailabel", "sessions")
    return str(settings.MONAI_LABEL_SESSION_PATH or own)


def stand_guard(app: AppFolder, folders: Sequence[str]) -> None:
    """Wrap the server's application in the guard, once; do nothing without a server (in a training process)."""
    import sys

    module = sys.modules.get("monailabel.app")
    stack = getattr(getattr(module, "app", None), "middleware_stack", None)
    if module is not None and stack is not None and not isinstance(stack, Guard):
        local = [folder for folder in folders if not folder.startswith(("http://", "https://"))]
        module.app.middleware_stack = Guard(stack, app.upload_mib, app.origins, local)
