"""The config files of a run, as they were given."""

from __future__ import annotations

import ast
import itertools
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from ctan_monai.errors import DataError

_FLAGS = ("--config_file", "--config-file")


def given_configs(arguments: Sequence[str]) -> list[Path]:
    """Find the config files on a command line of `monai.bundle run`.

    A config does not know where it lies, and MONAI does not tell its components.

    Args:
        arguments: those of the command line.

    >>> [str(path) for path in given_configs(["run", "--config_file", "['a.yaml','b.yaml']"])]
    ['a.yaml', 'b.yaml']
    >>> [str(path) for path in given_configs(["--config-file=c.yaml"])]
    ['c.yaml']
    >>> given_configs([])
    []
    """
    values = [value for flag, value in itertools.pairwise([*arguments, ""]) if flag in _FLAGS]
    values += [entry.split("=", 1)[1] for entry in arguments if entry.startswith(tuple(f"{flag}=" for flag in _FLAGS))]
    found: list[Path] = []
    for value in values:
        try:
            names = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            names = value
        found += [Path(str(name)) for name in (names if isinstance(names, (list, tuple)) else [names])]
    return found


def copy_configs(files: Sequence[str | Path] | None, folder: Path) -> None:
    """Copy config files; two of the same name get a number in front.

    Args:
        files: the files; None: those of the command line that exist.
        folder: where to; an earlier start's files of the same names are replaced.

    Raises:
        DataError: a file is missing.
    """
    if files is None:
        files = [path for path in given_configs(sys.argv[1:]) if path.is_file()]
    folder.mkdir(exist_ok=True)
    names: list[str] = []
    for path in map(Path, files):
        if not path.is_file():
            raise DataError(path, None, "there is no such config file.", "Correct config_files of the run's folder.")
        name = path.name if path.name not in names else f"{len(names)}_{path.name}"
        names.append(name)
        shutil.copyfile(path, folder / name)
