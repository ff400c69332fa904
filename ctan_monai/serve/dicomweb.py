"""Labels on a DICOMweb server as DICOM SEG with named segments.

MONAI Label names the segments of a label map by their position among the numbers that occur. A number that is missing
moves the names of all that follow, so maps and names go to it without gaps.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ctan_monai.data.formats.nifti import write_nifti
from ctan_monai.errors import DataError
from ctan_monai.serve.answer import as_answer
from ctan_monai.serve.drawn import read_drawn
from ctan_monai.serve.label_names import known_labels
from ctan_monai.serve.monailabel_api import DefaultLabelTag, binary_to_image
from ctan_monai.serve.names import check_id, check_name
from ctan_monai.tasks import Segmentation


class NamedSegments:
    """Mixin for MONAI Label's DICOMWebDatastore, see `with_named_segments`."""

    tasks: tuple[Segmentation, ...] = ()

    def save_label(
        self, image_id: str, label_filename: str, label_tag: str, label_info: dict[str, Any], label_id: str = ""
    ) -> str:
        """Save a label; a final one is converted to DICOM SEG with its names."""
        store: Any = super()
        with as_answer():
            check_id(image_id, "image")
            check_name(label_tag, "tag")
        if label_tag != DefaultLabelTag.FINAL.value:
            return str(store.save_label(image_id, label_filename, label_tag, label_info, label_id))
        image, label = Path(store.get_image_uri(image_id)), Path(label_filename)
        with tempfile.TemporaryDirectory(prefix="ctan_label_") as folder:
            if label.suffix == ".bin":  # bytes of the image's shape, as OHIF draws them
                label = Path(binary_to_image(str(image), str(label)))
            with as_answer():
                path, entries = without_gaps(image, label, label_info or {}, self.tasks, Path(folder))
            info = {**(label_info or {}), "label_info": entries}
            return str(store.save_label(image_id, str(path), label_tag, info, label_id))

    def _dicom_info(self, series_id: str) -> dict[str, Any]:
        """Return the info of a series; for segmentations of other programs, with the segments' names."""
        store: Any = super()
        info, own = dict(store._dicom_info(series_id)), vars(self)
        folder = Path(own["_datastore"].label_path(DefaultLabelTag.FINAL.value)) / series_id
        files = sorted(folder.iterdir()) if folder.is_dir() else []
        return {**info, "label_info": segments_of(files[0])} if files else info


def with_named_segments(store: Any, tasks: Sequence[Segmentation]) -> Any:
    """Add `NamedSegments` to an instance of MONAI Label's DICOMweb datastore."""
    store.__class__ = type("NamedDICOMWebDatastore", (NamedSegments, type(store)), {"tasks": tuple(tasks)})
    return store


def without_gaps(
    image: Path, label: Path, info: Mapping[str, Any], tasks: Sequence[Segmentation], folder: Path
) -> tuple[Path, list[dict[str, Any]]]:
    """Renumber a label map to 1 to n in the order of the tasks' labels, and return their names.

    Args:
        image: what it was drawn on.
        label: what was submitted.
        info: what came with it.
        tasks: the segmentations of the app.
        folder: for the new map; where segments overlap the later one is kept, as a label map has it.

    Returns:
        The map, and its ``label_info`` with what else the given entries say, such as colors.

    Raises:
        DataError: see `read_drawn`.
    """
    drawn = read_drawn(image, label, info, tasks)
    names = [name for name in known_labels(tasks) if name in drawn.masks]
    if drawn.affine_ras is None:
        raise DataError(label, None, "it was drawn on an image.", "Draw on a series of images.")
    numbers = np.zeros(drawn.masks[names[0]].shape, np.uint8 if len(names) < 256 else np.uint16)
    for number, name in enumerate(names, start=1):
        numbers[drawn.masks[name]] = number
    left = [name for number, name in enumerate(names, start=1) if (numbers == number).any()]
    if len(left) < len(names):
        raise DataError(label, None, "a segment is covered by others.", "Draw segments that do not cover others.")
    path = folder / "label.nii.gz"
    write_nifti(numbers, drawn.affine_ras, path)
    return path, entries_of(names, info.get("label_info"))


def entries_of(names: Sequence[str], given: Any) -> list[dict[str, Any]]:
    """Return an entry of label_info for each name, completed by the given entry of that name."""
    listed = [entry for entry in given if isinstance(entry, dict)] if isinstance(given, list) else []
    known = {str(entry.get("name")).strip().casefold(): entry for entry in listed}
    return [
        {**known.get(name.casefold(), {}), "name": name, "idx": number} for number, name in enumerate(names, start=1)
    ]


def name_what_is_there(request: MutableMapping[str, Any], present: Sequence[str]) -> None:
    """Reduce a request's names of DICOM SEG segments to the labels that were found.

    MONAI Label reads the same list after the answer, hence it is changed in its place.
    """
    given = request.get("label_info")
    if isinstance(given, list):
        given[:] = entries_of(present, list(given))


def segments_of(file: Path) -> list[dict[str, Any]]:
    """Read names and numbers of the segments of a DICOM SEG.

    Raises:
        DataError: it cannot be read.
    """
    import pydicom

    try:
        found = pydicom.dcmread(file, stop_before_pixels=True).SegmentSequence
        return [{"name": str(each.SegmentLabel), "idx": int(each.SegmentNumber)} for each in found]
    except Exception as error:  # pydicom raises almost anything for a damaged file
        raise DataError(file, None, f"it cannot be read as DICOM SEG ({error}).", "Store it again.") from error
