"""Networks built from a run's record: one, or an ensemble's."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ctan_monai.engines.runs.ensemble import Ensemble, RunDir, check_agree
from ctan_monai.engines.runs.manifest import run_dirs
from ctan_monai.engines.runs.run_record import MEMBERS, RUN_FILE, describe, load_best
from ctan_monai.errors import CheckpointError, ConfigError
from ctan_monai.networks import create_network
from ctan_monai.networks.base import MultiTaskNetwork
from ctan_monai.networks.forms import complete_record
from ctan_monai.tasks import Task, task_from


def run_network(
    output_dir: RunDir, method: str | None = None, encoder: str | None = None
) -> MultiTaskNetwork | Ensemble:
    """Create the network that a run's record describes, without its weights.

    Inference builds its network so, by ``network_def``: no option of the training has to be given again. Weights are
    loaded by `load_best`.

    Args:
        output_dir: the run's folder; several make an ensemble.
        method: what the user takes the run's architecture for; None: nothing was said.
        encoder: likewise its encoder.

    Returns:
        The network, on the CPU.

    Raises:
        CheckpointError: run.json is missing or cannot be read.
        ConfigError: run.json describes a network that this version does not know, or the run is of another method
            or has another encoder; or runs of an ensemble differ in tasks or inputs.
    """
    folders = run_dirs(output_dir)
    if len(folders) == 1:
        return _network(folders[0], method, encoder)
    members = [_single(_network(folder, method, encoder), folder) for folder in folders]
    check_agree(folders, [describe(member) for member in members])
    return Ensemble(members)


def _network(output_dir: Path, method: str | None = None, encoder: str | None = None) -> MultiTaskNetwork | Ensemble:
    with _record(output_dir) as record:
        for name, given in {"method": method, "encoder": encoder}.items():
            if given is not None and given != record[name]:
                found = f"{output_dir} was trained with --{name} {record[name]}, this is {given}."
                raise ConfigError(f"--{name}", found, f"Pass --{name} {record[name]}, or leave it out.")
        if MEMBERS in record:
            return Ensemble([_created(complete_record(member)) for member in record[MEMBERS]])
        return _created(record)


def _created(record: Mapping[str, Any]) -> MultiTaskNetwork:
    return create_network(
        record["method"],
        [task_from(entry) for entry in record["tasks"]],
        record["encoder"],
        record["spatial_dims"],
        record["in_channels"],
        encoder_options=record["encoder_options"],
        decoder_options=record["decoder_options"],
        network_options={record["method"]: record["network_options"]},
    )


def run_tasks(output_dir: RunDir) -> list[Task]:
    """Return the tasks that a run was trained on.

    Args:
        output_dir: the run's folder, or those of an ensemble, which `run_network` compares.

    Raises:
        CheckpointError: run.json is missing or cannot be read.
    """
    with _record(run_dirs(output_dir)[0]) as record:
        return [task_from(entry) for entry in record["tasks"]]


def network_of_run(run_dir: str | Path) -> MultiTaskNetwork:
    """Create the network that run.json describes, and load model.pt.

    Args:
        run_dir: the run's folder.

    Returns:
        The network, on the CPU, in evaluation mode.

    Raises:
        CheckpointError: run.json or model.pt is missing, cannot be read, or the two do not fit.
        ConfigError: run.json describes a network that this version does not know, or an ensemble.
    """
    return _single(answering_network(run_dir), run_dir)


def _single(network: MultiTaskNetwork | Ensemble, folder: str | Path) -> MultiTaskNetwork:
    if isinstance(network, Ensemble):
        found = f"{folder} holds an ensemble of {len(network.members)} networks, expected one."
        raise ConfigError("RUN", found, "Name the folder of one of its runs.")
    return network


def answering_network(run_dir: str | Path) -> MultiTaskNetwork | Ensemble:
    """Create and load what answers by a run: its network, or the ensemble that a packed folder holds.

    Raises:
        CheckpointError: see `network_of_run`.
        ConfigError: run.json describes a network that this version does not know.
    """
    network = _network(Path(str(run_dir)))
    load_best(network, run_dir)
    return network.eval()


@contextmanager
def _record(folder: str | Path) -> Iterator[dict[str, Any]]:
    """Read run.json, with errors that name what is wrong."""
    path = Path(str(folder)) / RUN_FILE
    remedy = "Name the folder of a run, which holds model.pt and run.json."
    if not path.is_file():
        raise CheckpointError(
            path, "there is no trained network.", f"Train first with --output_dir {folder}, or n{remedy[1:]}"
        )
    try:
        yield complete_record(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(path, f"no network can be built from it ({error!r}).", remedy) from error
