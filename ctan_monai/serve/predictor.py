"""Inference of an app's bundle on single images."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.bundle import ConfigParser
from torch import Tensor

from ctan_monai.data.formats.ct_source import CtSource, read_source, source_path
from ctan_monai.data.formats.images import IMAGE_FILE_SUFFIXES
from ctan_monai.data.formats.itk_volume import NRRD_SUFFIX
from ctan_monai.data.formats.nifti import NIFTI_SUFFIXES, load_nifti, write_nifti
from ctan_monai.engines.predictions.batch_parts import affine_of, answer_of, finite_logits
from ctan_monai.engines.predictions.ct_resample import resample_to_ct
from ctan_monai.engines.runs.ensemble import Ensemble
from ctan_monai.engines.runs.run_network import answering_network
from ctan_monai.errors import CtanError, DataError, find_ctan_error
from ctan_monai.networks import MultiTaskNetwork
from ctan_monai.serve.answer import Answer, predictive_entropy
from ctan_monai.serve.app_folder import AppFolder
from ctan_monai.serve.image_grid import on_image_grid
from ctan_monai.serve.names import is_plain
from ctan_monai.serve.nrrd import read_nrrd
from ctan_monai.tasks import Segmentation, Task
from ctan_monai.transforms.postprocess import postprocess_for

_NAME = "image"
_logger = logging.getLogger(__name__)


def readable(image: Path, folder: Path) -> Path:
    """Convert an image to a form that the bundle can read, and return its path.

    Args:
        image: a file, or a folder of DICOM.
        folder: for a link, or for what is converted; it must outlive the use.

    Returns:
        The image itself; a link to it, if its name cannot be an id; NIfTI, if it is NRRD.

    Raises:
        DataError: an NRRD cannot be read, or holds no volume.
    """
    name = image.name.lower()
    if image.is_dir():
        return image
    if name.endswith(NRRD_SUFFIX):
        found = read_nrrd(image)
        if found.affine_ras is None or found.values.ndim != 3:
            raise DataError(image, None, f"its shape is {found.values.shape}.", "Give one volume.")
        stem = image.name[: -len(NRRD_SUFFIX)]
        path = folder / f"{stem if is_plain(stem) else _NAME}.nii"
        kept = found.values.astype(np.int32) if found.values.dtype.itemsize == 8 else found.values
        write_nifti(kept if found.values.dtype.kind in "iu" else found.values, found.affine_ras, path)
        return path
    suffix = next((each for each in NIFTI_SUFFIXES if name.endswith(each)), image.suffix)
    if is_plain(image.name[: len(image.name) - len(suffix)]) or not image.is_file():
        return image
    path = folder / f"{_NAME}{suffix.lower()}"
    try:
        os.symlink(image.resolve(), path)
    except OSError:  # not everybody may make links on Windows
        shutil.copyfile(image, path)
    return path


@dataclass(frozen=True)
class Loaded:
    """An image preprocessed by the bundle.

    Args:
        sample: after the bundle's transforms, without a batch dimension.
        file: the cached case.
        path: the image under a name that can be an id, as NIfTI if it is NRRD.
        inferer: of the bundle.
        preprocessing: the bundle's transforms, item -> sample.
    """

    sample: Mapping[str, Any]
    file: Path
    path: Path
    inferer: Any
    preprocessing: Any


class Predictor:
    """Predictor of an app's network, reloaded when its weights change.

    Args:
        app: the app's folder.
        device: None for a GPU if there is one.
    """

    def __init__(self, app: AppFolder, device: str | torch.device | None = None) -> None:
        self.app = app
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self._lock = threading.Lock()
        self._state: tuple[int, int] | None = None
        self._network = self._fresh()
        self._last: tuple[Any, Answer] | None = None

    @property
    def tasks(self) -> tuple[Task, ...]:
        """Tasks of the network."""
        return tuple(self._network.tasks)

    @property
    def segmentations(self) -> tuple[Segmentation, ...]:
        """Those tasks that are segmentations."""
        return tuple(task for task in self.tasks if isinstance(task, Segmentation))

    @property
    def spatial_dims(self) -> int:
        """Dimensions of the network."""
        return int(self._network.spatial_dims)

    @property
    def version(self) -> str:
        """Version of the weights."""
        return "-".join(map(str, self._weights()))

    def predict(self, image: str | Path) -> Answer:
        """Predict one image; the last prediction is cached for requests of the other models.

        Args:
            image: a file, or a folder of DICOM.

        Raises:
            CtanError: the image cannot be used, or the weights cannot be read.
        """
        with self._lock:
            network = self._fresh()
            key = (str(image), _state_of(Path(image)), self._state)
            if self._last is None or self._last[0] != key:
                self._last = None  # frees its arrays before the next are made
                self._last = (key, self.answer(network, image))
            return self._last[1]

    def answer(self, network: MultiTaskNetwork | Ensemble, image: str | Path) -> Answer:
        """Predict with a given network, such as one that is being trained.

        Raises:
            CtanError: the image cannot be used.
        """
        with self.loaded(image) as found:
            sample = found.sample
            network = network.to(self.device).eval()
            with torch.inference_mode():
                outputs = found.inferer(sample["image"][None].to(self.device), network)  # (1, K, *S) or (1, K)
            logits = {
                task.name: finite_logits(outputs[task.name], task, {"case": [sample["case"]]})[0].cpu()
                for task in self.tasks
            }
            return self._final(logits, sample, found.file, found.path)

    @contextmanager
    def loaded(self, image: str | Path) -> Iterator[Loaded]:
        """Load an image as the bundle does, deleting temporary caches.

        Raises:
            CtanError: it cannot be used.
        """
        with tempfile.TemporaryDirectory(prefix="ctan_label_") as folder:
            try:
                path = readable(Path(image), Path(folder))
                parser = self._parser(path, folder)
                dataset = parser.get_parsed_content("dataset")
                inferer = parser.get_parsed_content("inferer")
                if any("dicom" in item for item in dataset.data):
                    remedy = "Export the frame as PNG; monai.bundle run inferring reads the file as it is."
                    raise DataError(image, None, "DICOM ultrasound is not answered here, only PNG and JPEG.", remedy)
                if len(dataset) != 1:
                    found = f"it holds {len(dataset)} images, expected one."
                    raise DataError(image, None, found, "Give them one by one.")
                item = dataset.data[0]
                sample = dataset[0]
            except CtanError:
                raise
            except Exception as error:  # MONAI wraps what a component raises
                known = find_ctan_error(error)
                if known is not None:
                    raise known from error
                reason = f"it cannot be read ({type(error).__name__}: {error})."
                raise DataError(image, None, reason[:500], "Check the image.") from error
            yield Loaded(sample, Path(item["file"]), path, inferer, dataset.transform)

    def network(self) -> MultiTaskNetwork | Ensemble:
        """Load the weights to a new network, or ensemble."""
        return answering_network(self.app.run_dir)

    def _parser(self, image: Path, folder: str) -> ConfigParser:
        path = self.app.bundle_root / "configs" / "inference.yaml"
        config = ConfigParser.load_config_file(str(path))
        config.update(
            bundle_root=str(self.app.bundle_root.resolve()),
            run_dir=str(self.app.run_dir.resolve()),
            output_dir=str(Path(folder) / "output"),
            cache_dir=str(Path(folder) / "cache"),
            input=str(image.absolute()),
        )
        return ConfigParser(config)

    def _weights(self) -> tuple[int, int]:
        state = (self.app.run_dir / "model.pt").stat()
        return state.st_mtime_ns, state.st_size

    def _fresh(self) -> MultiTaskNetwork | Ensemble:
        state = self._weights()
        if state != self._state:
            self._network, self._state = self.network().to(self.device), state
            _logger.info("the network of %s was read", self.app.run_dir)
        return self._network

    def _final(self, logits: Mapping[str, Tensor], sample: Mapping[str, Any], file: Path, image: Path) -> Answer:
        case = str(sample["case"])
        dense = [task for task in self.tasks if task.pixel_level]
        image_level = [task for task in self.tasks if not task.pixel_level]
        entropies = {task.name: predictive_entropy(task, logits[task.name]) for task in self.tasks}
        entropy = {name: value for name, value in entropies.items() if value is not None}
        answers = {
            task.name: answer_of(task, postprocess_for(task)(logits[task.name][None])[0]) for task in image_level
        }
        if image.suffix.lower() in IMAGE_FILE_SUFFIXES or not dense:
            masks, values = on_image_grid(dense, logits, file, image)
            return Answer(case, masks, values, answers, entropy, None)
        source = source_of(image, file, case)
        found = resample_to_ct(dense, logits, affine_of(sample["image"][None], 0, case), source)
        return Answer(case, found.masks, found.values, answers, entropy, source.affine_ras)


def source_of(image: Path, file: Path, case: str) -> CtSource:
    """Return the grid of the image that a cached case was made of.

    Raises:
        DataError: it cannot be read.
    """
    if source_path(file).is_file():
        return read_source(file)
    values, affine_ras = load_nifti(image, case, channels=16)
    first, second, third = values.shape[:3]
    return CtSource(case, (first, second, third), np.asarray(affine_ras), (image,))


def _state_of(image: Path) -> Any:
    files = sorted(image.rglob("*")) if image.is_dir() else [image]
    try:
        return [(str(path), path.stat().st_mtime_ns, path.stat().st_size) for path in files]
    except OSError as error:
        raise DataError(image, None, f"it cannot be read ({error.strerror}).", "Check the image.") from error
