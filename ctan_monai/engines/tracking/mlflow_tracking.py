"""MLflow tracking of multi-task runs by `--tracking mlflow`."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events
from monai.handlers import MLFlowHandler

from ctan_monai.engines.distributed.processes import rank
from ctan_monai.engines.handlers.grouping_record import grouping_scalars
from ctan_monai.engines.handlers.handler_order import attach_after_others
from ctan_monai.engines.handlers.history_handler import History
from ctan_monai.engines.runs.data_record import DATA_FILE
from ctan_monai.engines.runs.manifest import CONFIGS_FOLDER, METRICS_FILE, SETTINGS_FILE
from ctan_monai.engines.runs.run_record import MODEL_FILE, RUN_FILE
from ctan_monai.engines.runs.versions import versions
from ctan_monai.engines.tracking.mlflow_run import MLflowRun, find_run, open_run, short
from ctan_monai.files.json_files import read_json

_logger = logging.getLogger(__name__)
_RUN_FILES = (MODEL_FILE, RUN_FILE, SETTINGS_FILE, METRICS_FILE, f"{CONFIGS_FOLDER}/*")


class MLflowTracking:
    """Trainer handler: log a run's settings and, after each epoch, its metrics to MLflow.

    Parameters are the run's options (settings.json), versions, and what the data were (data.json). Metrics are those of
    metrics.json, by epoch: ``train/loss``, ``train/loss_<task>``, ``weight/<task>``, ``learning_rate``, ``seconds`` and
    ``validation/<metric>``; of filter groups `grouping_scalars`. `publish_run` adds images, page and network when they
    are made.

    A store that does not answer when the run begins is an error; one that does not later on costs a warning, and
    what could not be sent goes with the next epoch. A resumed run continues its MLflow run.

    Args:
        source: MONAI's handler, of which client, experiment and place of files are used.
        history: the run's.
    """

    def __init__(self, source: MLFlowHandler, history: History) -> None:
        self._source, self._history = source, history
        self._run: MLflowRun | None = None
        self._sent = 0
        self._completed = False

    def attach(self, engine: Engine) -> None:
        """Attach to a trainer, after the history."""
        if rank() == 0:
            engine.add_event_handler(Events.STARTED, self._begin)
            attach_after_others(engine, self._send, Events.STARTED)
            engine.add_event_handler(Events.COMPLETED, self._complete)

    def close(self) -> None:
        """Set the run's final status; called however it ended."""
        if self._run is None:
            return
        if self._sent < len(self._history.epochs):  # the store was away when the last epoch ended
            _tolerate(self._send_new, self._run)
        stopped = isinstance(sys.exc_info()[1], SystemExit | KeyboardInterrupt)
        status = "FINISHED" if self._completed else "KILLED" if stopped else "FAILED"
        _tolerate(lambda run: run.set_status(status), self._run)
        self._run = None

    def _begin(self, engine: Engine) -> None:
        folder = self._history.path.parent
        source = self._source
        self._run = open_run(source.client, source.experiment_name, source.artifact_location, folder, source.run_name)
        self._sent, self._completed = len(self._history.epochs), False
        known, data = read_json(folder / SETTINGS_FILE) or {}, read_json(folder / DATA_FILE) or {}
        _tolerate(lambda run: run.log_settings({**known, "version": versions(), "data": data}), self._run)
        _logger.info("MLflow records this run in %s.", self._run.client.tracking_uri)

    def _send(self, engine: Engine) -> None:
        if self._run is not None:
            _tolerate(self._send_new, self._run)

    def _send_new(self, run: MLflowRun) -> None:
        for record in self._history.epochs[self._sent :]:
            run.log_metrics(metrics_of(record), record["epoch"])
            self._sent += 1

    def _complete(self, engine: Engine) -> None:
        self._completed = True


def in_place_of_monai(handlers: Sequence[Any]) -> list[Any]:
    """Replace the MLFlowHandler that `--tracking mlflow` adds to a trainer's handlers by `MLflowTracking`.

    MONAI's handler expects the loss outside a dictionary, continues whichever unfinished run it finds in the
    experiment, another one's too, and is done before images are drawn.

    Args:
        handlers: with a `History`; without one, MONAI's handler stays.
    """
    history = next((handler for handler in handlers if isinstance(handler, History)), None)
    if history is None:
        return list(handlers)
    tracking = [MLflowTracking(handler, history) for handler in handlers if isinstance(handler, MLFlowHandler)]
    return [*without_monai(handlers), *tracking[:1]]


def without_monai(handlers: Sequence[Any]) -> list[Any]:
    """Remove MONAI's MLFlowHandler from an evaluator's handlers: its metrics are logged with the run's."""
    return [handler for handler in handlers if not isinstance(handler, MLFlowHandler)]


def metrics_of(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metrics of an epoch of metrics.json by MLflow name.

    >>> metrics_of({"epoch": 1, "seconds": 2.5, "weights": {"dose": 1.0}, "train": {"loss": 0.5, "dose": 0.4}})
    {'seconds': 2.5, 'weight/dose': 1.0, 'train/loss': 0.5, 'train/loss_dose': 0.4}
    """
    metrics = {name: record[name] for name in ("seconds", "learning_rate") if name in record}
    metrics |= {f"weight/{task}": value for task, value in record.get("weights", {}).items()}
    train = record.get("train", {})
    metrics |= {"train/loss" if name == "loss" else f"train/loss_{name}": value for name, value in train.items()}
    metrics |= {f"validation/{name}": value for name, value in record.get("validation", {}).items()}
    return metrics | grouping_scalars(record.get("groupings", {}))


def publish_run(folder: Path, images: Iterable[Path]) -> None:
    """Log a tracked run's artifacts: ``run/`` with the network's files, ``report/`` with page and images.

    The folder ``run``, downloaded, is a ``run_dir`` for inference. Nothing happens where the run was not tracked.

    Args:
        folder: the run's.
        images: files to look at, in the folder.
    """
    run = find_run(folder)
    if run is None:
        return
    files = [(path, "run") for pattern in _RUN_FILES for path in sorted(folder.glob(pattern))]
    files += [(path, "report") for path in images]
    _tolerate(lambda found: _send_files(found, folder, files), run)


def publish_evaluation(folder: Path, metrics: Mapping[str, Any], images: Iterable[Path]) -> None:
    """Log an evaluation to the MLflow run of its run's folder: ``evaluation/<metric>`` and images.

    Args:
        folder: of the evaluation, in the run's folder; elsewhere, or where the run was not tracked, nothing happens.
        metrics: over all cases.
        images: files to look at, in the folder.
    """
    run = find_run(folder.parent)
    if run is None:
        return
    files = [(path, folder.name) for path in images]

    def send(found: MLflowRun) -> None:
        found.log_metrics({f"{folder.name}/{name}": value for name, value in metrics.items()})
        _send_files(found, folder, files)

    _tolerate(send, run)


def _send_files(run: MLflowRun, folder: Path, files: Sequence[tuple[Path, str]]) -> None:
    for path, place in files:
        inside = path.resolve().relative_to(folder.resolve()).parent.as_posix()
        run.log_file(path, place if inside == "." else f"{place}/{inside}")


def _tolerate(send: Callable[[MLflowRun], None], run: MLflowRun) -> None:
    """Send to MLflow; errors of its store are logged and do not stop a training."""
    from mlflow.exceptions import MlflowException

    try:
        send(run)
    except (MlflowException, OSError) as error:
        _logger.warning("MLflow's store at %s could not be written: %s", run.client.tracking_uri, short(error))
