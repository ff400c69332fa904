"""The source of a pack: weights and the records of their run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from ctan_monai.aliases import current_settings, existing_file
from ctan_monai.config_values import refuse_code
from ctan_monai.engines.predictions.operating_point import OPERATING_FILE
from ctan_monai.engines.runs.data_record import DATA_FILE, read_data_record
from ctan_monai.engines.runs.ensemble import check_agree
from ctan_monai.engines.runs.manifest import SETTINGS_FILE, run_dirs
from ctan_monai.engines.runs.run_network import network_of_run
from ctan_monai.engines.runs.run_record import MEMBERS, MODEL_FILE, RUN_FILE, describe, load_weights
from ctan_monai.engines.runs.torch_file import load_checked
from ctan_monai.errors import CheckpointError
from ctan_monai.files.json_files import read_json
from ctan_monai.networks.forms import complete_record
from ctan_monai.share.pack_configs import default_network, default_settings

PLACES = (
    "dataset_dir",
    "datalist",
    "init_from",
    "add_data",
)  # options that say where something lies on the machine of the training
CURVES = "images/curves.png"
_DATALIST_FILE = "datalist.json"


@dataclass(frozen=True)
class Trained:
    """A trained network and its run.

    Args:
        state: its weights, by name.
        record: run.json.
        settings: the options; what named a place on that machine is None.
        given: options of `settings` that named a place.
        data: data.json, None where the run has none.
        history: metrics.json, empty where there is none.
        evaluation: evaluation/summary.json, empty where there is none.
        versions: versions.json, empty where there is none.
        datalist: which case was in which split, None where the run does not say.
        newer: the weights were written after the evaluation.
        operating: operating_point.json, None where the run has none.
        curves: an image of losses and scores over the epochs, None where the run has none.
    """

    state: dict[str, Tensor]
    record: dict[str, Any]
    settings: dict[str, Any]
    given: tuple[str, ...] = ()
    data: dict[str, Any] | None = None
    history: dict[str, Any] = field(default_factory=dict)
    evaluation: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, Any] = field(default_factory=dict)
    datalist: Path | None = None
    newer: bool = False
    operating: dict[str, Any] | None = None
    curves: Path | None = None

    @property
    def members(self) -> int:
        """Number of networks, of which several are an ensemble."""
        return len(self.record.get(MEMBERS, [None]))

    @property
    def synthetic(self) -> bool:
        """Whether the run says that it was trained on synthetic data."""
        return bool(self.data and self.data["synthetic"])


def read_trained(weights: Path, bundle: Path) -> Trained:
    """Read a run's folder, or a file of weights.

    Args:
        weights: the folder of a run, or those of an ensemble as ``[a,b]``; or a state dict as .pt or .safetensors, of
            the network that the bundle's config builds if no option is given. A model.pt that lies in a run's folder
            stands for the run.
        bundle: the bundle's folder.

    Raises:
        CheckpointError: something is missing, damaged, or does not fit.
        ConfigError: the network cannot be built, or a text of the run would become a part of a program.
    """
    if len(folders := run_dirs(str(weights))) > 1:
        return _joined(folders)
    if weights.is_file() and not (weights.name == MODEL_FILE and (weights.parent / RUN_FILE).is_file()):
        return _of_file(weights, bundle)
    if not weights.exists():
        raise CheckpointError(weights, "there is no such file or folder.", "Name a run's folder, or a file of weights.")
    return _of_run(weights if weights.is_dir() else weights.parent)


def _joined(folders: Sequence[Path]) -> Trained:
    """Return the ensemble of some runs: no metrics, curves or split, which are those of single runs."""
    found = [_of_run(folder) for folder in folders]
    check_agree(folders, [each.record for each in found])
    first = found[0]
    return replace(
        first,
        state={f"members.{at}.{name}": value for at, each in enumerate(found) for name, value in each.state.items()},
        record={**first.record, MEMBERS: [each.record for each in found]},
        data={**(first.data or {"synthetic": False, "cases": {}}), MEMBERS: [each.data for each in found]}
        if any(each.data for each in found)
        else None,
        history={},
        evaluation={},
        datalist=None,
        newer=False,
        curves=None,
        operating=None,
    )


def _of_run(folder: Path) -> Trained:
    refuse_code(read_json(folder / SETTINGS_FILE), str(folder / SETTINGS_FILE))
    network = network_of_run(folder)
    settings = current_settings(_json_of(folder / SETTINGS_FILE, needed=True))
    kept = {name: without_places(value, name) for name, value in settings.items()}
    curves = existing_file(folder, CURVES)
    datalist, summary = folder / _DATALIST_FILE, folder / "evaluation" / "summary.json"
    record, data = complete_record(_json_of(folder / RUN_FILE, needed=True)), read_data_record(folder)
    history, evaluation = _json_of(folder / "metrics.json"), _json_of(summary)
    for name, content in ((RUN_FILE, record), (DATA_FILE, data), ("metrics.json", history), (summary, evaluation)):
        refuse_code(content, str(folder / name))  # metadata.json has some of them, which MONAI reads as a config too
    return Trained(
        state=network.state_dict(),
        record=record,
        settings=kept,
        given=tuple(name for name, value in settings.items() if value is not None and kept[name] is None),
        data=data,
        history=history,
        evaluation=evaluation,
        versions=_json_of(folder / "versions.json"),
        datalist=datalist if datalist.is_file() else None,
        operating=_json_of(folder / OPERATING_FILE) or None,
        curves=curves if curves.is_file() else None,
        newer=summary.is_file() and (folder / MODEL_FILE).stat().st_mtime > summary.stat().st_mtime,
    )


def _of_file(path: Path, bundle: Path) -> Trained:
    network = default_network(bundle)
    load_weights(network, _tensors_of(path), path)
    settings = default_settings(bundle)
    kept = {name: without_places(value, name) for name, value in settings.items()}
    return Trained(state=network.state_dict(), record=describe(network), settings=kept)


def _tensors_of(path: Path) -> Any:
    if path.suffix != ".safetensors":
        return load_checked(path, needs_checksum=False)
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(path, f"it cannot be read ({error}).", "Restore it from a copy.") from error


def without_places(value: Any, name: str = "") -> Any:
    """Replace paths in a setting by None.

    >>> without_places({"boost": "sum", "table": "/home/a/b.csv"})
    {'boost': 'sum', 'table': None}
    >>> without_places([96, 128], "image_size"), without_places("here", "dataset_dir")
    ([96, 128], None)
    """
    if isinstance(value, Mapping):
        return {key: without_places(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [without_places(entry) for entry in value]
    if name in PLACES:
        return None
    if isinstance(value, str) and (set(value) & set("/\\") or value.startswith("~") or Path(value).suffix):
        return None
    return value


def _json_of(path: Path, needed: bool = False) -> dict[str, Any]:
    """Read a JSON object, empty if the file is missing and not needed."""
    remedy = "Name the folder of a whole run, or restore the file from a copy."
    if not path.is_file() and not needed:
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(path, f"it cannot be read ({error}).", remedy) from error
    if not isinstance(content, dict):
        raise CheckpointError(path, f"found a {type(content).__name__}, expected names with values.", remedy)
    return content
