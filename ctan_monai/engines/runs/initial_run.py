"""The run that a training takes its first weights from, ``--init_from``."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from torch import nn

from ctan_monai.data.dicom.read.outputs import sha256
from ctan_monai.engines.runs.data_record import DATALIST_FILE, INITIAL_FILE, TRAINED_CASES, read_data_record
from ctan_monai.engines.runs.run_record import MODEL_FILE, load_best
from ctan_monai.errors import ConfigError
from ctan_monai.files.json_files import read_json

_logger = logging.getLogger(__name__)


def load_initial(network: nn.Module, run_dir: str | Path) -> dict[str, Any]:
    """Load a run's best network into one that is about to be trained.

    Args:
        network: of the same method, encoder, tasks and options.
        run_dir: the run's folder.

    Returns:
        What is known of the run: ``run``, the name of its folder, ``model_sha256``, and ``data``, its data.json, with
        the run that it began from itself, if any; and ``trained_cases``, the ids of all cases that it and those before
        were trained on, None where one does not say.

    Raises:
        ConfigError: the folder is no run's, or the run trained another network; the message names the flag to pass.
        CheckpointError: there is no model.pt, it is damaged, or it does not fit; or data.json cannot be read.
    """
    folder = Path(str(run_dir))
    if not folder.is_dir():
        raise ConfigError("--init_from", f"there is no folder {folder}.", "Name that of a run, which holds model.pt.")
    load_best(network, folder)
    cases = _trained_cases(folder)
    if cases is None:
        _logger.warning("%s does not name the cases that it was trained on: test on none of them.", folder)
    return {
        "run": folder.resolve().name,
        "model_sha256": sha256(folder / MODEL_FILE),
        "data": read_data_record(folder),
        TRAINED_CASES: cases,
    }


def _trained_cases(folder: Path) -> list[str] | None:
    """Return the ids of the cases that a run, and those that it began from, were trained on; None if unknown."""
    named, initial = read_json(folder / DATALIST_FILE) or {}, read_json(folder / INITIAL_FILE)
    before = [] if initial is None else initial.get(TRAINED_CASES)
    if not isinstance(own := named.get("train"), list) or before is None:
        return None
    return sorted({*map(str, own), *map(str, before)})
