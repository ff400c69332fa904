"""The operating point of a run: thresholds of its findings, chosen by validation cases and kept beside the weights."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import DataLoader
from monai.inferers import Inferer
from torch import nn
from torch.utils.data import Dataset

from ctan_monai.engines.distributed.processes import rank
from ctan_monai.engines.handlers.metrics_handler import MultiTaskMetrics
from ctan_monai.engines.loop.evaluator import MultiTaskEvaluator
from ctan_monai.engines.runs.manifest import run_dirs
from ctan_monai.engines.runs.run_record import load_best
from ctan_monai.errors import CheckpointError
from ctan_monai.files.json_files import read_json, write_json
from ctan_monai.metrics.operating_point import best_threshold
from ctan_monai.tasks import Task

logger = logging.getLogger(__name__)
OPERATING_FILE = "operating_point.json"
_RULE = "highest balanced accuracy (Youden) on the validation cases"
Thresholds = dict[str, dict[str, float]]


def choose_operating_point(
    run_dir: str | Path,
    tasks: Iterable[Task],
    network: nn.Module,
    dataset: Dataset[Any],
    device: str | torch.device = "cpu",
    inferer: Inferer | None = None,
    amp: bool | str = False,
) -> Thresholds:
    """Choose the thresholds of a run's findings by its best network, and write ``<run_dir>/operating_point.json``.

    Put it into a config's run list after the training. A finding that all or no validation cases have gets none, and
    the log says so; 0.5 is then used.

    Args:
        run_dir: the run's folder.
        tasks: tasks of the network; those that are no findings have no threshold.
        network: gets the weights of ``<run_dir>/model.pt``.
        dataset: the validation's, with labels.
        device: where to run.
        inferer: None: `MultiTaskInferer`.
        amp: mixed precision.

    Returns:
        Thresholds by task and class.

    Raises:
        CheckpointError: model.pt is damaged or does not fit, or the file cannot be written.
    """
    tasks = tuple(tasks)
    load_best(network, run_dir)
    metrics = MultiTaskMetrics(tasks)
    loader = DataLoader(dataset, batch_size=1)
    evaluator = MultiTaskEvaluator(device, loader, network, inferer=inferer, key_val_metric=metrics, amp=amp)
    evaluator.run()
    rows = metrics.rows()
    findings = {task.name: task.answer_names for task in tasks if task.classifies and not task.exclusive}
    found: Thresholds = {}
    for name, classes in findings.items():
        chosen = {label: _choose(rows, name, label) for label in classes}
        found[name] = {label: cut for label, cut in chosen.items() if cut is not None}
        for label, cut in chosen.items():
            said = "0.5, as the validation cases do not have both classes" if cut is None else f"{cut:.3f}"
            logger.info("The operating point of %s, %s, is %s.", name, label, said)
    if rank() == 0:
        content = {"rule": _RULE, "validation_cases": len(rows), "thresholds": found}
        write_json(content, Path(str(run_dir)) / OPERATING_FILE)
    return found


def operating_point(run_dir: str | Path | Sequence[str | Path]) -> Thresholds:
    """Read the thresholds of a run's findings, by task and class; of a run without such a file none.

    An ensemble has none: each of its runs' was chosen for that run's own probabilities.

    Raises:
        CheckpointError: the file cannot be read, or holds something else.
    """
    folders = run_dirs(run_dir)
    if len(folders) > 1:
        logger.info("An ensemble has no operating point of its own: 0.5 is used.")
        return {}
    path = folders[0] / OPERATING_FILE
    if not path.is_file():
        return {}
    content = read_json(path)
    try:
        found = {
            str(task): {str(label): float(cut) for label, cut in of_task.items()}
            for task, of_task in dict((content or {})["thresholds"]).items()
        }
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise _damaged(path, f"({error!r})") from error
    if not all(0 <= cut <= 1 for of_task in found.values() for cut in of_task.values()):
        raise _damaged(path, "(a threshold lies outside of 0 to 1)")
    return found


def _damaged(path: Path, why: str) -> CheckpointError:
    remedy = "Restore it from a copy, or delete it: 0.5 is then used."
    return CheckpointError(path, f"it holds no thresholds {why}.", remedy)


def _choose(rows: Iterable[Mapping[str, Any]], task: str, label: str) -> float | None:
    """Choose the threshold of a class by the rows in which it is known."""
    truth_key, prob_key = f"{task}_label_{label}", f"{task}_prob_{label}"
    known = [row for row in rows if not math.isnan(row[truth_key])]
    probs = np.array([row[prob_key] for row in known], np.float64)
    return best_threshold(probs, np.array([row[truth_key] > 0.5 for row in known], np.bool_)) if known else None
