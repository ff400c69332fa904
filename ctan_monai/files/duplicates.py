"""Refuse duplicate names, of which the last one would silently win."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from ctan_monai.errors import DataError


def twice(names: Iterable[str]) -> list[str]:
    """Return the names that occur more than once, ignoring case, as some file systems do.

    >>> twice(["CTV", "Rectum", "ctv"])
    ['ctv']
    """
    found = list(names)
    lower = [name.lower() for name in found]
    return [name for at, name in enumerate(found) if lower[at] in lower[:at]]


def pairs_once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Build a JSON object's dictionary, refusing duplicate keys: `json.loads(text, object_pairs_hook=pairs_once)`.

    Raises:
        ValueError: a key stands there twice.
    """
    found = dict(pairs)
    if len(found) != len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"{next(key for key in keys if keys.count(key) > 1)!r} stands there twice")
    return found


class _Once(yaml.SafeLoader):
    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        """Build a dictionary, refusing duplicate keys."""
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        again = next((key for key in keys if keys.count(key) > 1), None)
        if again is not None:
            raise ValueError(f"{again!r} stands there twice, line {node.start_mark.line + 1} and below")
        return super().construct_mapping(node, deep)


def yaml_once(text: str) -> Any:
    """Load YAML of plain values, refusing duplicate keys.

    Raises:
        ValueError: a key stands there twice.
        yaml.YAMLError: it is no YAML.
    """
    return yaml.load(text, Loader=_Once)  # noqa: S506  # a safe loader


def check_header(path: Path, columns: Sequence[str] | None) -> None:
    """Refuse a table with duplicate column names.

    Raises:
        DataError: two have.
    """
    columns = [column for column in columns or () if column]
    if again := [column for column in columns if columns.count(column) > 1]:
        raise DataError(path, None, f"the header has {sorted(set(again))} twice.", "Name each column once.")


def check_ids(cases: Mapping[Path, str]) -> None:
    """Refuse sources whose cases would have the same id, ignoring case.

    Args:
        cases: ids by the file or folder that each case is read from.

    Raises:
        DataError: two would be.
    """
    first: dict[str, Path] = {}
    for path, case in cases.items():
        other = first.setdefault(case.lower(), path)
        if other != path:
            reason = f"{other} and {path.name} would both be called {case}."
            raise DataError(path, case, reason, "Rename one of them, or keep one file for each case.")
