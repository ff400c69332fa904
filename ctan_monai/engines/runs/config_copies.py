"""The config files and overrides of a `monai.bundle run` command line."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ctan_monai.errors import DataError

# what `monai.bundle run` takes by position, after which it takes entries of the config
RUN_ARGUMENTS = (
    "run_id", "init_id", "final_id", "meta_file", "config_file", "logging_file", "tracking", "args_file",
)  # fmt: skip


def read_flags(arguments: Sequence[str]) -> tuple[list[str], dict[str, Any]]:
    """Parse a command line as Fire does for MONAI: positional arguments, and ``--name value``.

    >>> read_flags(["run", "--epochs", "-1", "--train#x={a: 1}", "--noamp", "--batch-size=2"])
    (['run'], {'epochs': -1, 'train#x': {'a': 1}, 'amp': False, 'batch_size': 2})
    """
    from fire.parser import DefaultParseValue

    unnamed: list[str] = []
    found: dict[str, Any] = {}
    waiting = list(arguments)
    while waiting:
        argument = waiting.pop(0)
        if not _is_flag(argument):
            unnamed.append(argument)
            continue
        name, equals, value = argument.lstrip("-").partition("=")
        name = name.replace("-", "_")
        if equals:
            found[name] = DefaultParseValue(value)
        elif waiting and not _is_flag(waiting[0]):
            found[name] = DefaultParseValue(waiting.pop(0))
        elif name.startswith("no") and name not in RUN_ARGUMENTS:
            found[name[2:]] = False
        else:
            found[name] = True
    return unnamed, found


def _is_flag(argument: str) -> bool:
    return argument.startswith("--") or re.match("-[a-zA-Z]", argument) is not None


def read_given(arguments: Sequence[str]) -> dict[str, Any]:
    """Return the overrides given to `monai.bundle run`, with those of an ``--args_file``.

    A config does not know where it lies, and MONAI does not tell its components.

    Args:
        arguments: those of the command line.
    """
    from monai.bundle import ConfigParser

    unnamed, given = read_flags(arguments)
    if unnamed[:1] == ["run"]:  # else it is another program's line
        given = {**dict(zip(RUN_ARGUMENTS, unnamed[1:], strict=False)), **given}
    file = given.get("args_file")
    if file is not None and Path(str(file)).is_file():
        given = {**ConfigParser.load_config_file(str(file)), **given}
    return given


def given_configs(arguments: Sequence[str]) -> list[Path]:
    """Find the config files on a command line of `monai.bundle run`.

    >>> [str(path) for path in given_configs(["run", "--config_file", "['a.yaml','b.yaml']"])]
    ['a.yaml', 'b.yaml']
    >>> [str(path) for path in given_configs(["run", "--config-file=c.yaml"])]
    ['c.yaml']
    >>> given_configs([])
    []
    """
    named = read_given(arguments).get("config_file")
    files = [] if named in (None, True) else named if isinstance(named, list | tuple) else [named]
    return [Path(str(file)) for file in files]


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
        target = folder / name
        if not (target.exists() and target.samefile(path)):  # a run that is continued by its own copies has them
            shutil.copyfile(path, target)
