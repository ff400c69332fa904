"""A run of MLflow and the folder of the run that it records."""

from __future__ import annotations

import logging
import math
import os
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ctan_monai.errors import ConfigError, install
from ctan_monai.files.json_files import read_json, write_json

_logger = logging.getLogger(__name__)
RECORD_FILE = "mlflow.json"
_MOST_CHARACTERS = 500  # of a parameter, in the oldest servers that are still in use


@dataclass(frozen=True)
class MLflowRun:
    """What is written for one run, with MLflow's own client.

    Every method raises what the client raises when the store cannot be reached.
    """

    client: Any
    run_id: str

    def log_settings(self, settings: Mapping[str, Any]) -> None:
        """Log parameters; MLflow never changes one, so one that is there with another value becomes a tag."""
        from mlflow.entities import Param, RunTag

        known = self.client.get_run(self.run_id).data.params
        texts = {name: text[:_MOST_CHARACTERS] for name, text in flatten(settings)}
        params = [Param(name, text) for name, text in texts.items() if name not in known]
        tags = [RunTag(f"resumed.{name}", text) for name, text in texts.items() if known.get(name, text) != text]
        self.client.log_batch(self.run_id, params=params, tags=tags)

    def log_metrics(self, values: Mapping[str, Any], step: int = 0) -> None:
        """Log metrics; one that is unknown or not finite is left out."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = [Metric(key_of(name), float(value), now, step) for name, value in values.items() if _finite(value)]
        self.client.log_batch(self.run_id, metrics=metrics)

    def log_file(self, file: Path, folder: str) -> None:
        """Copy a file to the run's artifacts."""
        self.client.log_artifact(self.run_id, str(file), folder)

    def set_status(self, status: str) -> None:
        """Set the run's status: RUNNING, FINISHED, FAILED or KILLED."""
        if status == "RUNNING":
            self.client.update_run(self.run_id, status)
        else:
            self.client.set_terminated(self.run_id, status)


def open_run(client: Any, experiment: str, artifacts: str | None, folder: Path, name: str | None = None) -> MLflowRun:
    """Resume the MLflow run of a run's folder, or create one.

    Args:
        client: MLflow's.
        experiment: its name; it is created if it is missing.
        artifacts: where a new experiment keeps its files; None leaves that to the store.
        folder: of the run, which remembers in ``mlflow.json`` what it belongs to.
        name: of a new run; None: the folder's.

    Raises:
        ConfigError: the address holds a password, or the store cannot be reached or written.
    """
    from mlflow.exceptions import MlflowException

    address = str(client.tracking_uri)
    if urlsplit(address).password:
        raise ConfigError(
            "--tracking_uri",
            "it holds a password, which would be written into the run's files.",
            "Give the address without, and set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD.",
        )
    _set_defaults()
    record = _read(folder)
    try:
        if record is not None and record["tracking_uri"] == address:
            run = MLflowRun(client, record["run_id"])
            run.set_status("RUNNING")
            return run
        number = _experiment(client, experiment, artifacts)
        run = MLflowRun(client, client.create_run(number, run_name=name or folder.resolve().name).info.run_id)
    except (MlflowException, OSError) as error:
        raise _unreachable(address, error) from error
    write_json({"tracking_uri": address, "experiment": experiment, "run_id": run.run_id}, folder / RECORD_FILE)
    return run


def make_store(address: str) -> None:
    """Make a store's tables if it has none, which MLflow does with the first client, and not in two processes at once.

    Args:
        address: of the store; MLFLOW_TRACKING_URI, if it is set, has the last word.

    Raises:
        ConfigError: MLflow is not installed, or the store cannot be reached or made.
    """
    try:
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException
    except ImportError as error:
        remedy = f"Run {install('mlflow', 'mlflow')}; or leave --tracking out."
        raise ConfigError("--tracking mlflow", f"MLflow is not installed ({error}).", remedy) from error
    _set_defaults()
    address = os.environ.get("MLFLOW_TRACKING_URI") or address
    try:
        MlflowClient(address).search_experiments(max_results=1)
    except (MlflowException, OSError) as error:
        raise _unreachable(address, error) from error


def find_run(folder: Path) -> MLflowRun | None:
    """Find the MLflow run that a folder belongs to; None where it was not tracked, or its store cannot be opened."""
    record = _read(folder)
    if record is None:
        return None
    try:
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException
    except ImportError:
        _logger.warning("%s was tracked by MLflow, which is not installed here: nothing is added there.", folder)
        return None
    _set_defaults()
    try:
        return MLflowRun(MlflowClient(record["tracking_uri"]), record["run_id"])
    except (MlflowException, OSError) as error:
        _logger.warning("MLflow's store at %s cannot be opened: %s", record["tracking_uri"], short(error))
        return None


def flatten(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Flatten nested mappings, joining keys by dots.

    >>> list(flatten({"seed": 0, "split_fractions": {"train": 0.7}, "datalist": None}))
    [('seed', '0'), ('split_fractions.train', '0.7'), ('datalist', 'None')]
    """
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{name}.")
        else:
            yield key_of(f"{prefix}{name}"), str(value)


def key_of(name: str) -> str:
    """Replace characters of a name that MLflow does not allow.

    >>> key_of("validation/PTV D95% (Gy)")
    'validation/PTV D95_percent _Gy_'
    """
    return re.sub(r"[^\w\-. :/]", "_", name.replace("%", "_percent"))


def short(error: Exception) -> str:
    """Return an error's message in one line."""
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__


def _experiment(client: Any, name: str, artifacts: str | None) -> str:
    """Return the id of an experiment, creating it if it is missing."""
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(client.create_experiment(name, artifact_location=artifacts))
        except MlflowException:
            found = client.get_experiment_by_name(name)
            if found is None:  # it was not that another process was faster
                raise
    return str(found.experiment_id)


def _unreachable(address: str, error: Exception) -> ConfigError:
    return ConfigError(
        "--tracking mlflow",
        f"MLflow's store at {address} does not answer as expected ({short(error)}).",
        "Start the server or correct --tracking_uri (or MLFLOW_TRACKING_URI), or leave --tracking out.",
    )


def _read(folder: Path) -> dict[str, str] | None:
    record = read_json(folder / RECORD_FILE) or {}
    return record if all(isinstance(record.get(key), str) for key in ("tracking_uri", "run_id")) else None


def _set_defaults() -> None:
    """Set MLflow's environment variables, unless the user has."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # else a new run is reported to MLflow's makers
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")  # 7 would hold up each epoch for over 4 min


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
