"""The folder of predictions, and the arrays and files of a case's prediction."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from ctan_monai import __version__
from ctan_monai.engines.distributed.processes import rank, wait_for_all
from ctan_monai.engines.runs.run_folder import move_aside
from ctan_monai.errors import ConfigError
from ctan_monai.files.json_files import write_json
from ctan_monai.tasks import Task

_DOSE_UNIT, CT_UNIT = "Gy", "HU"
_logger = logging.getLogger(__name__)
WRITTEN_JSON = "written.json"


def is_dose(task: Task) -> bool:
    """Tell whether a task predicts an absorbed dose: a value per voxel in Gy."""
    return task.pixel_level and task.answer_unit == _DOSE_UNIT


def is_ct(task: Task) -> bool:
    """Tell whether a task predicts a CT: a value per voxel in HU."""
    return task.pixel_level and task.answer_unit == CT_UNIT


def file_names(tasks: Sequence[Task], volumes: Sequence[str] = ()) -> dict[tuple[str, str], str]:
    """Return the NIfTI file names of a case, by task and label.

    Characters that cannot stand in a file name become ``_``. A label map and a regression have the task's name,
    volumes that are copied belong to the task ``""``.

    Raises:
        ConfigError: two would have the same name (on a file system that does not tell A from a).
    """
    wanted = [("", volume) for volume in volumes]
    for task in tasks:
        if task.pixel_level:
            wanted += [(task.name, name) for name in task.answer_names]
            wanted += [(task.name, task.name)] if task.masks and task.exclusive else []
    names = {key: re.sub(r"[^A-Za-z0-9_-]+", "_", key[1]) + ".nii.gz" for key in wanted}
    lower = [name.lower() for name in names.values()]
    twice = sorted({name for name in lower if lower.count(name) > 1})
    if twice or len(names) != len(wanted):
        raise ConfigError(
            "tasks", f"two labels, tasks or volumes would be written as {twice or wanted}.", "Rename one of them."
        )
    return names


def arrays_of(
    task: Task, final: np.ndarray[Any, Any], numbers: Mapping[str, int] | None = None
) -> dict[str, np.ndarray[Any, Any]]:
    """Return the arrays (*S) of one case's prediction, by name.

    Args:
        task: a voxel-level task.
        final: (L, *S) masks, or (K, *S) values.
        numbers: of each label in a label map; None counts from 1.

    Returns:
        Per label a mask, uint8, and for exclusive labels the label map under the task's name; or the values, float32,
        under the names of the answer.
    """
    dtype = np.uint8 if task.masks else np.float32
    arrays = {name: channel.astype(dtype) for name, channel in zip(task.answer_names, final, strict=True)}
    if task.masks and task.exclusive:
        given = numbers or {label: number for number, label in enumerate(task.answer_names, start=1)}
        label_map = np.zeros(final.shape[1:], np.min_scalar_type(max(given.values())))
        for label, mask in zip(task.answer_names, final, strict=True):
            label_map[mask.astype(bool)] = given[label]
        arrays[task.name] = label_map
    return arrays


def fresh_folder(output_dir: str | Path) -> Path:
    """Prepare an empty folder of predictions in a config's ``initialize``; earlier predictions are moved aside.

    It becomes ``NAME.1``, ``NAME.2`` and so on, as with the folder of a run. The new one gets ``written.json``, by
    which it is known again, and which `WriteDicom` completes. Of several processes the first does this.

    Args:
        output_dir: the folder.

    Raises:
        ConfigError: it holds something else, or cannot be moved.
        CheckpointError: it cannot be written.
    """
    folder = Path(str(output_dir))
    if rank() == 0:
        _make(folder)
    wait_for_all()
    return folder


def _make(folder: Path) -> None:
    if folder.is_file():
        raise ConfigError("--output_dir", f"{folder}: it is a file.", "Give a folder.")
    held = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    if held and WRITTEN_JSON not in held:
        reason = f"{folder} holds {', '.join(held[:3])} and no {WRITTEN_JSON}; it is no folder of predictions."
        raise ConfigError("--output_dir", reason, "Give a folder that is empty or not there.")
    if held:
        _logger.info("%s holds earlier predictions, which are now in %s.", folder, move_aside(folder))
    started = datetime.now().astimezone().isoformat(timespec="seconds")
    write_json({"software": f"ctan_monai {__version__}", "started": started, "complete": False}, folder / WRITTEN_JSON)
