"""Read the cells of a table of cases, CSV or JSON; data sets interpret them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ctan_monai.errors import DataError
from ctan_monai.files.csv_rows import csv_table
from ctan_monai.files.duplicates import pairs_once

TABLE_SUFFIXES = (".csv", ".tsv", ".txt", ".json")
SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "test": "test",
    "testing": "test",
}
_UNKNOWN = {"", "nan", "na", "n/a", "null"}
_BYTES_MAX = 100 * 2**20  # a list of a million cases; more is another kind of file
_SHAPE = 'Write {"training": [{"case": "p1", "image": "p1.nii.gz", ...}, ...], "validation": [...], "test": [...]}.'


@dataclass(frozen=True)
class Entry:
    """Cells of one case.

    Args:
        where: its place, such as 'line 7' or 'training[3]'.
        cells: what is known, by column; texts without blanks around them, or what JSON holds.
    """

    where: str
    cells: Mapping[str, Any]


@dataclass(frozen=True)
class Table:
    """Entries of a table.

    Args:
        path: the file.
        columns: all that occur, in the order of the file.
        entries: the cases.
    """

    path: Path
    columns: tuple[str, ...]
    entries: tuple[Entry, ...]


def read_table(path: str | Path) -> Table:
    """Read a table.

    A CSV has a header line; commas, semicolons or tabs separate; it is UTF-8, with or without a byte order mark, with
    line ends of any system, see `csv_table`. JSON is MONAI's: lists of entries under training, validation and test, or
    one list. An empty cell, nan, na, n/a and null say that something is not known.

    Raises:
        DataError: it is missing, of another kind, empty, or a line does not fit the header; names the line.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in TABLE_SUFFIXES:
        raise DataError(path, None, f"a table of cases ends in one of {TABLE_SUFFIXES}.", "Save it as CSV or JSON.")
    text = _text(path)
    columns, entries = _read_json(path, text) if suffix == ".json" else _read_csv(path, text)
    if not entries:
        raise DataError(path, None, "it lists no case.", "Write a line for each case.")
    return Table(path, tuple(columns), tuple(entries))


def is_unknown(cell: Any) -> bool:
    """Tell whether a cell means 'unknown'."""
    if isinstance(cell, float):
        return cell != cell  # JSON's NaN
    return cell is None or (isinstance(cell, str) and cell.strip().lower() in _UNKNOWN)


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > _BYTES_MAX:
            reason = f"it has more than {_BYTES_MAX // 2**20} MB; that is no table of cases."
            raise DataError(path, None, reason, "Name the table.")
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise DataError(path, None, f"it cannot be read ({error.strerror}).", "Check the path.") from error
    except UnicodeDecodeError as error:
        remedy = 'Save it as UTF-8; in Excel, "CSV UTF-8".'
        raise DataError(path, None, f"it is not UTF-8 ({error.reason} at byte {error.start}).", remedy) from error


def _read_csv(path: Path, text: str) -> tuple[list[str], list[Entry]]:
    columns, rows = csv_table(path, text)
    twice = sorted({name for name in columns if columns.count(name) > 1} | ({"(no name)"} if "" in columns else set()))
    if twice:
        raise DataError(path, None, f"the header has {twice} twice or without a name.", "Name each column once.")
    return columns, [Entry(f"line {line}", cells) for line, cells in rows]


def _read_json(path: Path, text: str) -> tuple[list[str], list[Entry]]:
    try:
        content = json.loads(text, object_pairs_hook=pairs_once)
    except (ValueError, RecursionError) as error:
        raise DataError(path, None, f"it is no JSON ({error}).", _SHAPE) from error
    entries = list(_json_entries(path, content))
    return list(dict.fromkeys(name for entry in entries for name in entry.cells)), entries


def _json_entries(path: Path, content: Any) -> Iterator[Entry]:
    if isinstance(content, list):
        content = {"": content}
    if not isinstance(content, dict):
        raise DataError(path, None, f"it holds a {type(content).__name__}.", _SHAPE)
    for section, found in content.items():
        split = SPLIT_NAMES.get(section.lower(), "")
        if section and not split:
            if isinstance(found, list) and found and isinstance(found[0], dict):
                raise DataError(path, None, f"the section {section!r} is unknown.", _SHAPE)
            continue  # name, description and the like, as the Medical Segmentation Decathlon has them
        if not isinstance(found, list):
            raise DataError(path, None, f"{section} is no list.", _SHAPE)
        for number, cells in enumerate(found):
            yield _json_entry(path, f"{section or 'entry '}[{number}]", split, cells)


def _json_entry(path: Path, where: str, split: str, cells: Any) -> Entry:
    if isinstance(cells, str):  # the Decathlon's list of test images
        cells = {"image": cells}
    if not isinstance(cells, dict):
        raise DataError(path, None, f"{where} is no dictionary.", _SHAPE)
    given = str(cells.get("split", split)).lower()
    if split and SPLIT_NAMES.get(given) != split:
        reason = f"{where} says that its split is {cells['split']!r}."
        raise DataError(path, None, reason, "Move it to that list, or leave the split out.")
    stripped = {name: cell.strip() if isinstance(cell, str) else cell for name, cell in cells.items()}
    return Entry(where, {**stripped, "split": split} if split else stripped)
