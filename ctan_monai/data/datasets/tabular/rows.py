"""Convert a table's entries to rows of files and labels, checked without opening files."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ctan_monai.data.cases.case import check_case_id
from ctan_monai.data.datasets.tabular.columns import Columns, find_columns
from ctan_monai.data.datasets.tabular.layout import IMAGE, Layout
from ctan_monai.data.datasets.tabular.values import Value, read_value
from ctan_monai.data.lists.table import SPLIT_NAMES, Entry, Table, is_unknown, read_table
from ctan_monai.errors import DataError
from ctan_monai.files.whole_folder import SYNTHETIC_MARK


@dataclass(frozen=True)
class Row:
    """A table's row: files and labels of a case.

    Args:
        where: its place in the table.
        case: id.
        group: what must stay in one split, such as the patient; None if that is not said.
        split: train, validation or test; None if that is not said.
        fold: number of the fold, None without folds.
        images: one file per channel of the image, or one for all of them.
        masks: files by label, and by name of a region.
        maps: label maps by segmentation task.
        volumes: files by voxel-level regression.
        values: labels of the whole image by task.
        synthetic: beside the table, or in the folder that its paths start from, lies the mark of synthetic cases.
    """

    where: str
    case: str
    group: str | None
    split: str | None
    fold: int | None
    images: tuple[Path, ...]
    masks: Mapping[str, Path]
    maps: Mapping[str, Path]
    volumes: Mapping[str, Path]
    values: Mapping[str, Value]
    synthetic: bool = False

    @property
    def files(self) -> list[Path]:
        """Files that the case is read from."""
        return [*self.images, *self.masks.values(), *self.maps.values(), *self.volumes.values()]


def read_rows(
    path: str | Path,
    dataset_dir: str | Path | None,
    layout: Layout,
    labels_needed: bool = True,
    problems: list[tuple[str, DataError]] | None = None,
) -> list[Row]:
    """Read the cases of a table.

    Args:
        path: CSV or JSON, see `read_table`.
        dataset_dir: folder that the paths in it start from; None for the table's own.
        layout: what is wanted.
        labels_needed: a task without any column is an error.
        problems: gets the place and the error of cases that cannot be used, which are then left out; None raises the
            first.

    Raises:
        DataError: the table cannot be used, or a case of it; names the line.
    """
    table = read_table(path)
    base = table.path.parent if dataset_dir is None or str(dataset_dir) == "" else Path(str(dataset_dir))
    if not base.is_dir():
        raise DataError(base, None, "there is no such folder.", "Correct --dataset_dir.")
    reader = _RowReader(table, base, layout, find_columns(table, layout, labels_needed))
    rows: list[Row] = []
    for entry in table.entries:
        try:
            rows.append(reader.read(entry))
        except DataError as error:
            if problems is None:
                raise
            problems.append((entry.where, error))
    return rows


class _RowReader:
    """Reader of entries that remembers case ids."""

    def __init__(self, table: Table, base: Path, layout: Layout, columns: Columns) -> None:
        self.table, self.base, self.layout, self.columns = table, base, layout, columns
        self.synthetic = any((folder / SYNTHETIC_MARK).is_file() for folder in (base, table.path.parent))
        self.groups: dict[str, str] = {}  # as first written; 'Anna' and 'anna' are hardly two patients
        self.seen: dict[str, str] = {}  # where each case is; by lower case, as file systems see names

    def read(self, entry: Entry) -> Row:
        """Convert an entry to a row."""
        cells = {name: cell for name, cell in entry.cells.items() if not is_unknown(cell) or self._names_class(name)}
        cells = {name: cell for name, cell in cells.items() if not (isinstance(cell, str) and not cell)}
        images = self._images(entry, cells)
        case = self._case(entry, cells, images)
        try:
            row = Row(
                entry.where,
                case,
                self._group(cells),
                self._split(cells),
                self._fold(cells),
                images,
                self._files(cells, self.columns.masks),
                self._files(cells, self.columns.maps),
                self._files(cells, self.columns.volumes),
                dict(self._values(cells)),
                self.synthetic,
            )
            self._check_files(row)
        except _EntryError as fault:
            raise self._error(entry, case, str(fault), fault.remedy) from fault
        return row

    def _names_class(self, column: str) -> bool:
        """Tell whether a word such as 'na' is the name of a class in this column."""
        classes = [getattr(task, "classes", ()) for task in self.layout.image_level if task.name == column]
        return any(is_unknown(name) for names in classes for name in names)

    def _error(self, entry: Entry, case: str | None, reason: str, remedy: str) -> DataError:
        return DataError(self.table.path, case, f"{entry.where}: {reason}.", remedy)

    def _case(self, entry: Entry, cells: Mapping[str, Any], images: Sequence[Path]) -> str:
        given = cells.get("case", re.sub(r"\.gz$", "", images[0].name, flags=re.IGNORECASE).rsplit(".", maxsplit=1)[0])
        try:
            case = check_case_id(str(given))
        except DataError as error:
            raise self._error(
                entry,
                None,
                f"{str(given)[:80]!r} cannot be a case's name; {error.reason}"[:-1],
                "Rename it in the column case.",
            ) from error
        earlier = self.seen.setdefault(case.lower(), entry.where)
        if earlier != entry.where:
            remedy = "Give each case a name of its own in the column case; a patient's name belongs into group."
            raise self._error(entry, case, f"this case is in {earlier} already", remedy)
        return case

    def _group(self, cells: Mapping[str, Any]) -> str | None:
        given = _text(cells, *self.columns.group)
        return None if given is None else self.groups.setdefault(given.casefold(), given)

    def _images(self, entry: Entry, cells: Mapping[str, Any]) -> tuple[Path, ...]:
        channels = self.layout.image_channels
        found = cells.get(IMAGE) if self.columns.one_image else {name: cells.get(name) for name in channels}
        if isinstance(found, dict):
            missing = [name for name in channels if is_unknown(found.get(name))]
            found = [found.get(name) for name in channels]
        else:
            missing = [IMAGE] if found is None or found == [] else []
        listed = found if isinstance(found, list) else [found]
        if missing or (len(listed) not in (1, len(channels))):
            reason = f"there is no file for {', '.join(missing)}" if missing else f"{len(listed)} images"
            raise self._error(entry, _text(cells, "case"), reason, f"Give one image, or one for each of {channels}.")
        try:
            return tuple(self._path(IMAGE, name) for name in listed)
        except _EntryError as fault:
            raise self._error(entry, _text(cells, "case"), str(fault), fault.remedy) from fault

    def _files(self, cells: Mapping[str, Any], columns: Mapping[str, str]) -> dict[str, Path]:
        return {name: self._path(column, cells[column]) for name, column in columns.items() if column in cells}

    def _path(self, column: str, name: Any) -> Path:
        if not isinstance(name, str):
            raise _EntryError(f"{column} is {name!r}, expected a file's name", "Name a file.")
        path = Path(name.replace("\\", "/"))
        if ".." in path.parts:
            remedy = "Name files inside of the folder, with the right --dataset_dir, or give the whole path."
            raise _EntryError(f"{column} is {name!r}, which leaves the data's folder {self.base}", remedy)
        return path if path.is_absolute() else self.base / path

    def _split(self, cells: Mapping[str, Any]) -> str | None:
        given = _text(cells, "split")
        if given is not None and given.lower() not in SPLIT_NAMES:
            raise _EntryError(f"the split {given!r} is unknown", "Use train, validation or test.")
        return None if given is None else SPLIT_NAMES[given.lower()]

    def _fold(self, cells: Mapping[str, Any]) -> int | None:
        given = _text(cells, "fold")
        if given is None:
            return None
        if not given.removesuffix(".0").isdecimal():
            raise _EntryError(f"the fold {given!r} is no number", "Use 0, 1, 2, ...")
        return int(given.removesuffix(".0"))

    def _values(self, cells: Mapping[str, Any]) -> Iterator[tuple[str, Value]]:
        for task in self.layout.image_level:
            if task.name in cells:
                try:
                    yield task.name, read_value(task, cells[task.name])
                except ValueError as error:
                    reason = f"{task.name}: {error}"
                    raise _EntryError(reason, "Correct the cell, or leave it empty if it is not known.") from error

    def _check_files(self, row: Row) -> None:
        for task in self.layout.segmentations:
            both = [label for label in task.labels if label in row.masks]
            if task.name in row.maps and both:
                raise _EntryError(f"{task.name} has a label map and masks of {', '.join(both)}", "Give one of them.")
        missing = [path for path in row.files if not _is_file(path)]
        if missing:
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            remedy = "Correct the path, which starts from --dataset_dir or the table's folder."
            raise _EntryError(f"there is no file {missing[0]}{more}", remedy)


class _EntryError(Exception):
    """Error in an entry; converted to a DataError with its place."""

    def __init__(self, reason: str, remedy: str) -> None:
        self.remedy = remedy
        super().__init__(reason)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file() or path.is_dir()  # of a DICOM series
    except OSError:  # a name that is too long
        return False


def _text(cells: Mapping[str, Any], *columns: str) -> str | None:
    """Return the text of the first of some columns that has one."""
    return next((str(cells[name]) for name in columns if name in cells), None)


def without_labels(rows: Sequence[Row]) -> list[Row]:
    """Remove the labels of rows."""
    return [dataclasses.replace(row, masks={}, maps={}, volumes={}, values={}) for row in rows]
