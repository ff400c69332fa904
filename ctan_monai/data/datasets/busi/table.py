"""Ultrasound images named by a table of cases, as `ctan-monai new` reads them, instead of BUSI's folders."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ctan_monai.data.datasets.busi.layout import CLASSES, Busi, BusiImage, class_of_folders, find_busi
from ctan_monai.data.lists.image_files import image_name
from ctan_monai.data.lists.table import TABLE_SUFFIXES, Entry, Table, is_unknown, read_table
from ctan_monai.data.lists.ultrasound_files import ALL, with_frames
from ctan_monai.errors import DataError
from ctan_monai.files.duplicates import check_ids

_logger = logging.getLogger(__name__)
_IMAGE, _FRAME = "image", "frame"
_CLASS = ("class", "diagnosis")
_PATIENT = ("patient_id", "patient", "group")
_MASK = re.compile(r"(mask|tumor)(_\d+)?")
_NUMBERS = {"1": "malignant", "1.0": "malignant", "0": "benign", "0.0": "benign"}
_COLUMNS = f"image, mask (and mask_1, mask_2 ...), {' or '.join(_CLASS)}, frame and {' or '.join(_PATIENT)}"


def find_images(source: str | Path, frame: int | str = ALL) -> Busi:
    """Find the images of a folder, see `find_busi`, or those that a table names.

    A table, CSV or JSON (`read_table`), has the column ``image``, and ``mask`` or ``class`` or both: masks are files,
    further ones of an image in ``mask_1`` and so on; a class is benign, malignant or normal, or 1 and 0 for malignant
    and not. Paths start from the table's folder. An empty cell is not known. ``frame`` names the frame of a DICOM file,
    ``patient_id`` what stays in one split. ``tumor`` and ``diagnosis``, the tasks' names, stand for mask and class.

    Args:
        source: the folder or the table.
        frame: of DICOM files of several frames, 'all' or the number of the one to use.

    Raises:
        DataError: see `find_busi`; or a column or file is missing, a cell cannot be read, or a class contradicts the
            folder that its image lies in.
    """
    path = Path(source)
    if not (path.is_file() and path.suffix.lower() in TABLE_SUFFIXES):
        return find_busi(path, frame)
    table = read_table(path)
    _check_columns(table)
    found: dict[Path, BusiImage] = {}
    for entry in table.entries:
        for image in _images(table, entry, frame):
            if image.path in found:
                reason = f"{entry.where} lists {image.path.name!r} again."
                raise DataError(path, image_name(image.path), reason, "List each image once, with all of its masks.")
            found[image.path] = image
    names = {image: image_name(image) for image in found}
    check_ids(names)
    known = {names[key]: image for key, image in found.items() if image.label is not None or image.masks}
    if left_out := len(found) - len(known):
        _logger.warning("%s: %d images have neither a class nor a mask; left out", path, left_out)
    if not known:
        raise DataError(path, None, "no image has a class or a mask.", f"Fill the columns {_COLUMNS}.")
    return Busi(path, dict(sorted(known.items())), frame)


def _check_columns(table: Table) -> None:
    used = {_IMAGE, _FRAME, *_CLASS, *_PATIENT}
    labels = [name for name in table.columns if name in _CLASS or _MASK.fullmatch(name)]
    if _IMAGE not in table.columns or not labels:
        missing = "a class or a mask" if _IMAGE in table.columns else _IMAGE
        reason = f"there is no column for {missing}; it has {', '.join(table.columns)}."
        raise DataError(table.path, None, reason, f"The columns are {_COLUMNS}.")
    if strangers := [name for name in table.columns if name not in (*used, *labels)]:
        _logger.warning("%s: columns that are not used: %s", table.path, ", ".join(strangers))


def _images(table: Table, entry: Entry, frame: int | str) -> list[BusiImage]:
    """Return the image of a row, or those of the frames of a cine."""
    cells = {name: cell for name, cell in entry.cells.items() if not is_unknown(cell)}
    path = _file(table, entry, cells.get(_IMAGE), _IMAGE)
    masks = tuple(_file(table, entry, cells[name], name) for name in table.columns
                  if name in cells and _MASK.fullmatch(name))  # fmt: skip
    label = _label(table, entry, cells, path)
    patient = next((str(cells[name]) for name in _PATIENT if name in cells), None)
    number = str(cells.get(_FRAME, frame)).removesuffix(".0")
    if number != ALL and not (number.isdigit() and int(number)):
        raise _refuse(table, entry, f"the frame {number!r} is no number from 1 on", "Correct it, or leave it empty.")
    paths = with_frames([path], number)
    if len(paths) > 1 and masks:
        reason = f"{path.name} has {len(paths)} frames, and the row does not say whose masks it has"
        raise _refuse(table, entry, reason, "Write a row for each frame that has one, with the column frame.")
    return [BusiImage(each, label, masks, patient) for each in paths]


def _label(table: Table, entry: Entry, cells: Mapping[str, Any], path: Path) -> str | None:
    base = table.path.parent
    inside = path.relative_to(base) if path.is_relative_to(base) else Path(*path.parts[-2:])  # not all above it
    folder = class_of_folders(inside)
    given = next((str(cells[name]).lower() for name in _CLASS if name in cells), None)
    label = None if given is None else _NUMBERS.get(given, given)
    if label is not None and label not in CLASSES:
        reason = f"the class {given!r} is unknown, expected one of {', '.join(CLASSES)}, or 1 and 0"
        raise _refuse(table, entry, reason, "Correct it, or leave the cell empty if it is not known.")
    if folder is not None and label is not None and folder != label and not (given in _NUMBERS and label == "benign"
                                                                              and folder == "normal"):  # fmt: skip
        reason = f"it says that {path.name} is {label}, its folder says {folder}"
        raise _refuse(table, entry, reason, "Correct the table, or move the image.")
    return folder if given in _NUMBERS and folder is not None else label or folder


def _file(table: Table, entry: Entry, cell: Any, column: str) -> Path:
    """Return the file that a cell names, which starts from the table's folder."""
    if not isinstance(cell, str):
        raise _refuse(table, entry, f"{column} is {cell!r}, expected a file's name", "Name a file.")
    named = Path(cell.replace("\\", "/"))
    path = table.path.parent / named
    if ".." in named.parts:
        remedy = "Name files below the table's folder, or give the whole path."
        raise _refuse(table, entry, f"{column} is {cell!r}, which leaves the table's folder", remedy)
    if not path.is_file():
        raise _refuse(
            table, entry, f"there is no file {path}", "Correct the path, which starts from the table's folder."
        )
    return path


def _refuse(table: Table, entry: Entry, reason: str, remedy: str) -> DataError:
    return DataError(table.path, None, f"{entry.where}: {reason}.", remedy)
