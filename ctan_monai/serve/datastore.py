"""MONAI Label's datastore of a folder of images, with checks."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ctan_monai.data.formats.images import IMAGE_FILE_SUFFIXES
from ctan_monai.data.formats.itk_volume import NRRD_SUFFIX
from ctan_monai.data.formats.nifti import NIFTI_SUFFIXES, load_nifti
from ctan_monai.errors import DataError
from ctan_monai.serve.answer import as_answer
from ctan_monai.serve.drawn import LABEL_SUFFIXES, grid_of, read_drawn
from ctan_monai.serve.labeled import Labeled
from ctan_monai.serve.monailabel_api import DefaultLabelTag, LocalDatastore
from ctan_monai.serve.names import StoredNames, check_id, check_name
from ctan_monai.serve.nrrd import read_nrrd
from ctan_monai.serve.sizes import check_received
from ctan_monai.tasks import Segmentation

_logger = logging.getLogger(__name__)
_FINAL = DefaultLabelTag.FINAL.value
_SUBMITTED = "submitted"  # marks labels that came with a request
_RECONCILED = frozenset({"ts", "name"})  # all that is known of a label that somebody put into the folder


class CheckedDatastore(LocalDatastore):  # type: ignore[misc]  # monailabel has no types
    """Datastore of a folder, which reads and writes nothing outside of it.

    Images may be called anything that is no path; files of those whose names cannot stand in file names everywhere get
    plain ones. An image counts as labeled when a person submitted a label, not when a dose was saved beside it.

    Args:
        studies: the folder.
        tasks: segmentations, whose labels may be drawn.
        upload_mib: limit of a file, also unpacked.
        options: further ones of LocalDatastore.
    """

    def __init__(self, studies: str, tasks: Sequence[Segmentation], upload_mib: float, **options: Any) -> None:
        self._root, self._tasks, self._upload_mib = Path(studies).resolve(), tuple(tasks), upload_mib
        self._names = StoredNames(self._root)
        super().__init__(studies, **options)

    def add_image(self, image_id: str, image_filename: str, image_info: dict[str, Any]) -> str:
        """Add an image; existing ones are not replaced."""
        with as_answer():
            check_id(image_id, "image")
            _check_object(image_info)
            received = Path(image_filename)
            check_received(received, self._upload_mib)
            if received.name.lower().endswith((*NIFTI_SUFFIXES, NRRD_SUFFIX, *IMAGE_FILE_SUFFIXES)):
                grid_of(received, None)  # what is broken is refused now, not when somebody opens it
            self._names.add(image_id)
            if image_id in self.list_images():
                if not _same_image(received, Path(self.get_image_uri(image_id))):
                    remedy = "Give the volume another name, or delete the image first."
                    raise DataError("image", None, "another image has this name already.", remedy)
                return image_id
            _, ending = self._to_id(received.name)
            place = self._inside(Path(self._datastore.image_path()) / self._filename(image_id, ending))
            if place.exists():
                raise DataError(place, None, "there is such a file already.", "Give the volume another name.")
        return str(super().add_image(image_id, image_filename, image_info))

    def save_label(self, image_id: str, label_filename: str, label_tag: str, label_info: dict[str, Any]) -> str:
        """Save a label; a final one must fit its image, and its numbers must have names."""
        with as_answer():
            self._known(image_id)
            check_name(label_tag, "tag")
            _check_object(label_info)
            received = Path(label_filename)
            check_received(received, self._upload_mib, LABEL_SUFFIXES)
            if label_tag == _FINAL:
                read_drawn(Path(self.get_image_uri(image_id)), received, label_info, self._tasks)
                label_info = {**label_info, _SUBMITTED: True}
            _, ending = self._to_id(received.name)
            self._inside(Path(self._datastore.label_path(label_tag)) / self._filename(image_id, ending))
        return str(super().save_label(image_id, label_filename, label_tag, label_info))

    def save_result(self, image_id: str, file: Path, tag: str, info: dict[str, Any]) -> None:
        """Save a result of the server beside an image; its size is not limited."""
        _, ending = self._to_id(file.name)
        self._inside(Path(self._datastore.label_path(tag)) / self._filename(image_id, ending))
        super().save_label(image_id, str(file), tag, info)

    def remove_image(self, image_id: str) -> None:
        """Remove an image and its labels."""
        with as_answer():
            self._known(image_id)
            self.get_image_uri(image_id)
        super().remove_image(image_id)

    def update_image_info(self, image_id: str, info: dict[str, Any]) -> None:
        """Update an image's info."""
        with as_answer():
            self._known(image_id)
            _check_object(info)
        super().update_image_info(image_id, info)

    def update_label_info(self, label_id: str, label_tag: str, info: dict[str, Any]) -> None:
        """Update a label's info."""
        with as_answer():
            self._known(label_id)
            _check_object(info)
        super().update_label_info(label_id, label_tag, info)

    def get_image_uri(self, image_id: str) -> str:
        """Return the path of an image, '' if there is none."""
        return self._checked(super().get_image_uri(image_id))

    def get_label_uri(self, label_id: str, label_tag: str) -> str:
        """Return the path of a label, '' if there is none."""
        return self._checked(super().get_label_uri(label_id, label_tag))

    def get_unlabeled_images(self, label_tag: str | None = None, labels: list[str] | None = None) -> list[str]:
        """List the images without a final label."""
        return list(super().get_unlabeled_images(label_tag or _FINAL, labels))

    def get_labeled_images(self, label_tag: str | None = None, labels: list[str] | None = None) -> list[str]:
        """List the images with a final label."""
        return list(super().get_labeled_images(label_tag or _FINAL, labels))

    def labeled(self) -> list[tuple[str, Labeled]]:
        """List ids and final labels; of those that came with a request, ``submitted`` is set."""
        found = []
        for image_id in sorted(self.get_labeled_images()):
            info = self.get_label_info(image_id, _FINAL)
            image, label = Path(self.get_image_uri(image_id)), Path(self.get_label_uri(image_id, _FINAL))
            submitted = bool(set(info) - _RECONCILED)
            found.append((image_id, Labeled(image, label, info, submitted, f"{info.get('ts')}")))
        return found

    # ---- files

    def _to_id(self, file: str) -> tuple[str, str]:
        stem, ending = super()._to_id(file)
        return self._names.id_of(stem), ending

    def _filename(self, id: str, ext: str) -> str:
        return self._names.stem_of(id) + ext

    def _list_files(self, path: str, patterns: Sequence[str]) -> dict[str, str]:
        """List files, without links that lead out of the folder."""
        found = {}
        for name, file in super()._list_files(path, patterns).items():
            if self._root in (Path(path) / file).resolve().parents:
                found[name] = file
            else:
                _logger.warning("a link that leads out of the folder of images is passed over")
        return found

    def _checked(self, path: str) -> str:
        if path:
            with as_answer():
                self._inside(Path(path))
        return path

    def _inside(self, path: Path) -> Path:
        """Resolve a path inside this folder.

        Raises:
            DataError: it leads out of it.
        """
        place = path.resolve()
        if self._root not in place.parents:
            raise DataError("image", None, "a link leads out of the folder of images.", "Copy the file into it.")
        return place

    def _known(self, image_id: str) -> None:
        check_id(image_id, "image")
        if image_id not in self.list_images():
            raise DataError("image", None, "there is no such image.", "Ask for one that the datastore lists.")


def _check_object(info: Any) -> None:
    if info is not None and not isinstance(info, dict):
        found = f"they are a {type(info).__name__}, expected an object."
        raise DataError("params", None, found, "Send an object such as {}.")


def _same_image(first: Path, second: Path) -> bool:
    """Tell whether two image files have the same voxels and grid."""
    if first.read_bytes() == second.read_bytes():
        return True
    try:
        (old, old_ras), (new, new_ras) = _volume(first), _volume(second)
    except DataError:
        return False
    return np.array_equal(old, new) and np.allclose(old_ras, new_ras, atol=1e-3)


def _volume(path: Path) -> tuple[Any, Any]:
    if path.name.lower().endswith(NIFTI_SUFFIXES):
        return load_nifti(path, None)
    if path.name.lower().endswith(NRRD_SUFFIX):
        found = read_nrrd(path)
        return found.values, np.eye(4) if found.affine_ras is None else found.affine_ras
    raise DataError(path, None, "it is no volume.", "Give NIfTI or NRRD.")
