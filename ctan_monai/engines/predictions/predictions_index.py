"""The index of predictions in cases.json: the files of each case."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ctan_monai.data.cases.case import check_case_id
from ctan_monai.errors import ConfigError, DataError
from ctan_monai.files.atomic import replace_text
from ctan_monai.files.whole_folder import INDEX_FILE, PREDICTIONS
from ctan_monai.tasks import Task, describe_task, task_from

_FORMAT = f"{PREDICTIONS} 1"


@dataclass(frozen=True)
class PredictedCase:
    """The files written for one case.

    Args:
        case: id.
        source: the case file that the network's image came from, None if it is not known.
        files: per voxel-level task, per label (or the task's own name), the NIfTI file.
        answers: per task with one answer per image, the probability of each class, or the value under its unit.
        masked: tasks whose values were set to 0 outside the region of the case.
    """

    case: str
    source: Path | None
    files: Mapping[str, Mapping[str, Path]] = field(default_factory=dict)
    answers: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    masked: tuple[str, ...] = ()


@dataclass(frozen=True)
class PredictionsIndex:
    """The predicted tasks and cases, in the order of prediction."""

    tasks: tuple[Task, ...]
    cases: tuple[PredictedCase, ...]


def write_index(
    folder: Path, tasks: Iterable[Task], cases: Iterable[PredictedCase], providers: Iterable[str] = ()
) -> Path:
    """Write ``<folder>/cases.json``; paths in it are relative to the folder, so that both can move together.

    Args:
        folder: of the predictions.
        tasks: that were answered.
        cases: in their order.
        providers: of onnxruntime, by which an exported network was computed.

    Raises:
        DataError: the file cannot be written.
    """
    content = {
        "format": _FORMAT,
        "tasks": [describe_task(task) for task in tasks],
        **({"providers": list(providers)} if providers else {}),
        "cases": [to_json(case, folder) for case in cases],
    }
    path = folder / INDEX_FILE
    return replace_text(path, json.dumps(content, indent=1) + "\n")


def read_index(folder: str | Path) -> PredictionsIndex:
    """Read ``<folder>/cases.json``.

    Raises:
        DataError: there is none, it is no such file, or it names files outside of the case's own folder.
    """
    path = Path(folder) / INDEX_FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content.get("format") != _FORMAT:
            raise ValueError(f"its format is {content.get('format')!r}, expected {_FORMAT!r}")
        tasks = tuple(task_from(entry) for entry in content["tasks"])
        return PredictionsIndex(tasks, tuple(from_json(entry, path.parent) for entry in content["cases"]))
    except OSError as error:
        remedy = "Name the folder that WritePredictions wrote, or predict first."
        raise DataError(path, None, f"it cannot be read ({error.strerror or error}).", remedy) from error
    except (ValueError, KeyError, TypeError, AttributeError, ConfigError) as error:
        raise DataError(path, None, f"it is no list of predictions ({error}).", "Predict again.") from error


def to_json(case: PredictedCase, folder: Path) -> dict[str, Any]:
    """Serialize a case to JSON values, with paths relative to the folder."""
    return {
        "case": case.case,
        "source": None if case.source is None else _relative(case.source, folder),
        "files": {
            task: {name: _relative(file, folder) for name, file in files.items()} for task, files in case.files.items()
        },
        "answers": {task: dict(answer) for task, answer in case.answers.items()},
        "masked": list(case.masked),
    }


def from_json(entry: Mapping[str, Any], folder: Path) -> PredictedCase:
    """Create the case that `to_json` serialized.

    Raises:
        KeyError: an entry is missing.
        ValueError: a prediction's file lies outside the folder.
    """
    files = {
        task: {name: _inside(folder, name_of) for name, name_of in names.items()}
        for task, names in entry["files"].items()
    }
    source = None if entry["source"] is None else folder / entry["source"]
    return PredictedCase(check_case_id(entry["case"]), source, files, entry["answers"], tuple(entry["masked"]))


def _relative(path: Path, folder: Path) -> str:
    try:
        return Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()
    except ValueError:  # Windows: another drive
        return path.resolve().as_posix()


def _inside(folder: Path, relative: str) -> Path:
    path = folder / relative
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"{relative} lies outside {folder}")
    return path
