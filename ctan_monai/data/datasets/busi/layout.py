"""Files of a BUSI folder: a folder for each class, masks beside their images, and perhaps a table.

Dataset_BUSI_with_GT/benign/benign (1).png
Dataset_BUSI_with_GT/benign/benign (1)_mask.png
Dataset_BUSI_with_GT/benign/benign (1)_mask_1.png      a second tumor
Dataset_BUSI_with_GT/malignant/malignant (1).png ...
Dataset_BUSI_with_GT/normal/normal (1).png ...
labels.csv                                             image,class,patient_id

An image can be DICOM ultrasound too; the mask of frame 3 of cine.dcm is cine_f003_mask.png.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ctan_monai.data.lists.id_table import known_cell, table_rows
from ctan_monai.data.lists.image_files import image_name
from ctan_monai.data.lists.ultrasound_files import ALL, file_and_frame, is_image_file, stem_of, with_frames
from ctan_monai.errors import DataError
from ctan_monai.files.duplicates import check_ids

_logger = logging.getLogger(__name__)

CLASSES = ("benign", "malignant", "normal")
TABLE = "labels.csv"
_MASK = re.compile(r"(?P<image>.+)_mask(_\d+)?$")
_DEPTHS = ("*", "*/*", "*/*/*")
_COLUMNS = ("image", "class")


@dataclass(frozen=True)
class BusiImage:
    """An image with what is known about it.

    Args:
        path: the file.
        label: one of `CLASSES`, None if it is not known.
        masks: files, of one tumor each; none if the outline is not known.
        patient: from the table; BUSI itself names none.
    """

    path: Path
    label: str | None
    masks: tuple[Path, ...] = ()
    patient: str | None = None


@dataclass(frozen=True)
class Busi:
    """Images of a folder, by id, with the frames that were wanted of DICOM."""

    root: Path
    images: Mapping[str, BusiImage]
    frame: int | str = ALL


@dataclass
class _Row:
    line: int
    label: str | None
    patient: str | None
    used: bool = field(default=False)


def is_mask(stem: str) -> bool:
    """Tell by its name whether a file is a mask.

    >>> is_mask("benign (4)_mask_1"), is_mask("benign (4)")
    (True, False)
    """
    return _MASK.match(stem) is not None


def class_of_folders(path: Path) -> str | None:
    """Return the class that the innermost folder of a path is called like, None if none is."""
    inside = [part.lower() for part in path.parts[:-1]]
    return next((part for part in reversed(inside) if part in CLASSES), None)


def find_busi(dataset_dir: str | Path, frame: int | str = ALL) -> Busi:
    """Find images, masks and the table, up to three folders deep.

    An image's class is the folder that it lies in, or the table's; where both say one, they must agree. Images of which
    nothing is known, neither a class nor a mask, are left out, and the log says how many.

    Args:
        dataset_dir: the folder.
        frame: of DICOM files of several frames, 'all' or the number of the one to use.

    Raises:
        DataError: there is no image, two have one id, a mask has no image, or the table contradicts a folder, names
            what is not there or cannot be read.
    """
    root = Path(dataset_dir)
    files = [path for depth in _DEPTHS for path in sorted(root.glob(depth)) if not path.name.startswith(".")]
    files = [path for path in files if path.is_file() and is_image_file(path)]
    paths = with_frames([path for path in files if not is_mask(path.stem)], frame)
    masks = _masks_of(paths, [path for path in files if is_mask(path.stem)])
    table = root / TABLE
    rows = _read_table(table) if table.is_file() else {}
    names = {path: image_name(path) for path in paths}
    check_ids(names)
    found = {names[path]: _image(root, path, masks.get(path, ()), rows, table) for path in paths}
    for name, row in rows.items():
        if not row.used:
            reason = f"line {row.line} names {name!r}, which is not among the {len(paths)} images."
            raise DataError(table, None, reason, "Correct the name: the file's, or its way from the table's folder.")
    known = {name: image for name, image in sorted(found.items()) if image.label is not None or image.masks}
    if not known:
        raise _nothing_found(root, len(paths))
    if left_out := len(found) - len(known):
        _logger.warning("%s: %d images have neither a class nor a mask; left out", root, left_out)
    return Busi(root, known, frame)


def _masks_of(images: list[Path], masks: list[Path]) -> dict[Path, tuple[Path, ...]]:
    """Give each image its masks, which lie beside it."""
    by_place = {(file_and_frame(path)[0].parent, stem_of(path)): path for path in images}
    cines = {(file.parent, stem_of(file)) for file, frame in map(file_and_frame, images) if frame is not None}
    found: dict[Path, tuple[Path, ...]] = {}
    for mask in masks:
        match = _MASK.match(mask.stem)
        image = by_place.get((mask.parent, match["image"])) if match else None
        if match and image is None and (mask.parent, match["image"]) in cines:
            reason = f"{match['image']} has several frames, and it does not say which it belongs to."
            remedy = f"Call the mask of frame 3 {match['image']}_f003_mask.png."
            raise DataError(mask, None, reason, remedy)
        if image is None:
            reason = f"it is a mask, but no image {match['image'] if match else mask.stem!r} lies beside it."
            raise DataError(mask, None, reason, "Add the image, or remove the mask.")
        found[image] = (*found.get(image, ()), mask)
    return found


def _image(root: Path, path: Path, masks: tuple[Path, ...], rows: Mapping[str, _Row], table: Path) -> BusiImage:
    file = file_and_frame(path)[0].relative_to(root)
    folder = class_of_folders(file)
    names = (stem_of(path), file.as_posix(), file.name, stem_of(root / file))
    row = next((rows[key] for key in names if key in rows), None)
    if row is None:
        return BusiImage(path, folder, masks)
    row.used = True
    if folder is not None and row.label is not None and row.label != folder:
        reason = f"line {row.line} says that {file.name} is {row.label}, its folder says {folder}."
        raise DataError(table, image_name(path), reason, "Correct the table, or move the image.")
    return BusiImage(path, row.label or folder, masks, row.patient)


def _read_table(path: Path) -> dict[str, _Row]:
    """Read the table: rows by what they call the image."""
    remedy = f"Write a table with the columns {', '.join(_COLUMNS)} and, if known, patient_id."
    rows: dict[str, _Row] = {}
    for line, cells in table_rows(path, _COLUMNS, remedy):
        name, label = cells["image"], known_cell(cells, "class")
        if name in rows:
            raise DataError(path, None, f"line {line} lists {name!r} again.", "List each image once.")
        if label is not None and label.lower() not in CLASSES:
            reason = f"line {line} has the class {label!r}, expected one of {', '.join(CLASSES)}."
            raise DataError(path, None, reason, "Correct it, or leave the cell empty if it is not known.")
        rows[name] = _Row(line, None if label is None else label.lower(), known_cell(cells, "patient_id"))
    return rows


def _nothing_found(root: Path, images: int) -> DataError:
    reason = (
        f"no BUSI data were found; there are {images} images. Looked, up to three folders deep, for folders called "
        f"{', '.join(CLASSES)} with images and <image>_mask.png, and for {TABLE}."
    )
    return DataError(root, None, reason, "Give --dataset_dir the folder that holds them, or leave it out.")
