"""The record of a run's network in run.json, and the network built from it."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from ctan_monai.engines.distributed.processes import unwrap
from ctan_monai.engines.runs.ensemble import Ensemble, RunDir, members_of
from ctan_monai.engines.runs.manifest import run_dirs
from ctan_monai.engines.runs.option_checks import check_options
from ctan_monai.engines.runs.torch_file import load_checked
from ctan_monai.errors import CheckpointError, ConfigError
from ctan_monai.files.json_files import as_json, write_json
from ctan_monai.networks.base import MultiTaskNetwork, describe_network
from ctan_monai.networks.forms import complete_record, take_form

_logger = logging.getLogger(__name__)
RUN_FILE, MODEL_FILE = "run.json", "model.pt"
MEMBERS = "members"  # entry of run.json: the records of an ensemble's networks
_FLAGS = ("method", "encoder")  # entries of the record that have a flag of the same name


def describe(network: nn.Module) -> dict[str, Any]:
    """Describe a network by method, encoder, tasks and options, as in run.json; an ensemble has ``members`` too.

    Raises:
        ConfigError: it was not made by `create_network`.
    """
    inner = unwrap(network)
    if isinstance(inner, Ensemble):
        members = [describe(member) for member in inner.members]
        return {**members[0], MEMBERS: members}
    if not isinstance(inner, MultiTaskNetwork):
        raise ConfigError(
            "network", f"found {type(inner).__name__}, expected a network of create_network.", "Give that network."
        )
    described: dict[str, Any] = as_json(describe_network(inner))
    return described


def differences(saved: Mapping[str, Any], current: Mapping[str, Any], prefix: str = "") -> list[str]:
    """List the differences of two records: 'name: saved a, now b'.

    >>> differences({"method": "hps", "options": {"pool": 1}}, {"method": "ctan", "options": {"pool": 1}})
    ["method: saved 'hps', now 'ctan'"]
    """
    found: list[str] = []
    for key in [*saved, *(key for key in current if key not in saved)]:
        before, now = saved.get(key), current.get(key)
        if isinstance(before, Mapping) and isinstance(now, Mapping):
            found += differences(before, now, f"{prefix}{key}.")
        elif before != now:
            found.append(f"{prefix}{key}: saved {before!r}, now {now!r}")
    return found


def write_run(network: nn.Module, output_dir: str | Path) -> None:
    """Write run.json.

    Raises:
        CheckpointError: it could not be written.
    """
    write_json(describe(network), Path(str(output_dir)) / RUN_FILE)


def read_run(output_dir: str | Path) -> dict[str, Any] | None:
    """Read run.json, completed by options that an earlier version did not name.

    Returns:
        None where there is none.

    Raises:
        CheckpointError: it cannot be read.
    """
    path = Path(str(output_dir)) / RUN_FILE
    if not path.is_file():
        return None
    try:
        return complete_record(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, AttributeError) as error:
        raise CheckpointError(path, f"it cannot be read ({error}).", "Restore it from a copy, or delete it.") from error


def adopt_form(network: nn.Module, output_dir: str | Path) -> None:
    """Rebuild a network in the form of a run's, see `take_form`, before loading its weights.

    Raises:
        CheckpointError: run.json cannot be read.
    """
    saved, inner = read_run(output_dir), unwrap(network)
    if saved is not None and isinstance(inner, MultiTaskNetwork) and take_form(inner, saved):
        _logger.info("The network has the form that %s says: %s.", Path(str(output_dir)) / RUN_FILE, _form_of(inner))


def _form_of(network: MultiTaskNetwork) -> str:
    groups = ("encoder_options", "decoder_options", "network_options")
    return ", ".join(f"{name} {value}" for group in groups for name, value in network.settings[group].items())


def check_run(output_dir: str | Path, network: nn.Module) -> None:
    """Check that a network is the one of a run, before loading its weights.

    Args:
        output_dir: the run's folder.
        network: the network that shall get the weights.

    Raises:
        ConfigError: they differ; the message names the flag to pass.
        CheckpointError: run.json cannot be read.
    """
    path = Path(str(output_dir)) / RUN_FILE
    saved = read_run(output_dir)
    if saved is None:
        _logger.warning("%s is missing: it cannot be checked that the network is the one that was trained.", path)
        return
    current = describe(network)
    for flag in _FLAGS:
        if saved.get(flag) != current.get(flag):
            raise ConfigError(
                f"--{flag}",
                f"{path.parent} was trained with --{flag} {saved.get(flag)}, this is {current.get(flag)}.",
                f"Pass --{flag} {saved.get(flag)}.",
            )
    if found := differences(saved, current):
        raise ConfigError(
            found[0].split(":")[0].split(".")[0],
            f"{path.parent} was trained with other settings: " + "; ".join(found) + ".",
            f"Use the settings of that run ({path.parent / 'settings.json'} and its configs folder).",
        )


def load_best(network: nn.Module, output_dir: RunDir) -> nn.Module:
    """Load a run's best network, after `adopt_form` and `check_run`.

    Args:
        network: gets the weights of ``<output_dir>/model.pt``, all of them; an ensemble's members each their run's, or
            all from the one folder that holds an ensemble, as a packed one does.
        output_dir: the run's folder, or those of the members.

    Returns:
        The same network.

    Raises:
        ConfigError: the run trained another network; the message names the flag to pass. Or the command line has a
            slip that `check_options` finds.
        CheckpointError: there is no model.pt, it is damaged, or it does not fit.
    """
    check_options()
    folders = run_dirs(output_dir)
    networks = members_of(network) if len(folders) > 1 else [network]
    for member, folder in zip(networks, folders, strict=True):
        path = folder / MODEL_FILE
        if not path.is_file():
            remedy = f"Train first with --output_dir {folder}, or name a run's folder."
            raise CheckpointError(path, "there is no trained network.", remedy)
        adopt_form(member, folder)
        check_run(folder, member)
        load_weights(member, load_checked(path, needs_checksum=False), path)
    return network


def load_weights(network: nn.Module, state: Any, path: str | Path) -> None:
    """Load a state dict strictly.

    Raises:
        CheckpointError: it does not fit; the message gives the first keys and shapes that differ.
    """
    remedy = "Use the method, encoder, tasks and options that it was trained with."
    if not isinstance(state, Mapping):
        raise CheckpointError(path, f"found a {type(state).__name__}, expected a network's state dict.", remedy)
    inner = unwrap(network)
    shapes = {key: list(tensor.shape) for key, tensor in inner.state_dict().items()}
    found = differences({key: list(getattr(entry, "shape", [])) for key, entry in state.items()}, shapes)
    if found:
        more = f" and {len(found) - 3} more" if len(found) > 3 else ""
        raise CheckpointError(path, f"weights do not fit the network: {'; '.join(found[:3])}{more}.", remedy)
    inner.load_state_dict(state)
