"""Records of a run's data: data.json and datalist.json."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ctan_monai.aliases import current_record
from ctan_monai.data.lists.leakage import Datalists
from ctan_monai.engines.distributed.processes import rank
from ctan_monai.errors import CheckpointError, ConfigError
from ctan_monai.files.json_files import read_json, write_json

DATA_FILE, INITIAL_FILE = "data.json", "init_from.json"
_KEYS, _DOSE_KEYS = ("synthetic", "cases"), ("prescriptions_gy", "normalized_to_gy")
DATALIST_FILE = "datalist.json"
TRAINED_CASES = "trained_cases"  # entry of init_from.json, which no other file repeats: it names cases


def write_data_record(output_dir: str | Path, record: Mapping[str, Any]) -> None:
    """Write ``<output_dir>/data.json``; of several processes, the first does.

    Args:
        output_dir: the run's folder.
        record: ``synthetic``, whether the data are; ``cases``, their number by split; where a dose is learned,
            ``prescriptions_gy``, how many cases have each prescription, by its text in Gy ('unknown' where it is not
            known), and ``normalized_to_gy``, the dose that every prescription was scaled to, or None. Others may stand
            beside these. A run that began with another's weights also gets ``init_from``, see `load_initial`.

    Raises:
        ConfigError: one of these is missing.
        CheckpointError: the file could not be written.
    """
    wanted = (*_KEYS, *_DOSE_KEYS) if set(_DOSE_KEYS) & set(record) else _KEYS
    if missing := [key for key in wanted if key not in record]:
        raise ConfigError("record", f"{missing} is missing.", f"Give {list(wanted)}.")
    if rank() == 0:
        initial = read_json(Path(str(output_dir)) / INITIAL_FILE)
        if initial:
            known = {key: value for key, value in initial.items() if key != TRAINED_CASES}
            record = {**record, "init_from": known}
        write_json(record, Path(str(output_dir)) / DATA_FILE)


def read_data_record(run_dir: str | Path) -> dict[str, Any] | None:
    """Read what `write_data_record` wrote.

    Args:
        run_dir: the run's folder.

    Returns:
        The record, without prescriptions where no dose was learned; None where there is none, as in a run of data that
        no record is kept of.

    Raises:
        CheckpointError: it is there, but cannot be read.
    """
    path = Path(str(run_dir)) / DATA_FILE
    remedy = "Restore it from a copy, or delete it; predictions then do not say what they were trained on."
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise CheckpointError(path, f"it cannot be read ({error}).", remedy) from error
    try:
        record = json.loads(text)
    except ValueError as error:
        raise CheckpointError(path, f"it is no JSON ({error}).", remedy) from error
    if not isinstance(record, dict) or not set(_KEYS) <= set(record):
        raise CheckpointError(path, f"it does not hold {list(_KEYS)}.", remedy)
    return {"prescriptions_gy": {}, "normalized_to_gy": None, **current_record(record)}


def write_datalist(output_dir: str | Path, datalists: Datalists, synthetic: bool | None = None) -> None:
    """Write ``<output_dir>/datalist.json``; of several processes, the first does.

    It is what a bundle's ``datalist`` takes. An evaluation that reads it tests on the cases that were held out, also if
    cases have been added to the data since, which would have changed the split.

    Args:
        output_dir: the run's folder.
        datalists: items with a ``case`` by split; of several items of one case, such as its slices, it is named once.
        synthetic: whether the cases are; data.json (`write_data_record`) then says so, and their number. None: without.

    Raises:
        ConfigError: validation or test has cases that the run of ``init_from`` (`load_initial`) was trained on.
        CheckpointError: the file could not be written.
    """
    if rank() == 0:
        _check_held_out(output_dir, datalists)
        named = {split: list(dict.fromkeys(item["case"] for item in items)) for split, items in datalists.items()}
        write_json(named, Path(str(output_dir)) / DATALIST_FILE)
        if synthetic is not None:
            counts = {split: len(cases) for split, cases in named.items()}
            write_data_record(output_dir, {"synthetic": bool(synthetic), "cases": counts})


def _check_held_out(output_dir: str | Path, datalists: Datalists) -> None:
    initial = read_json(Path(str(output_dir)) / INITIAL_FILE) or {}
    seen = set(initial.get(TRAINED_CASES) or ())
    for split in ("validation", "test"):
        cases = {str(item["case"]) for item in datalists.get(split, ())}
        if again := cases & seen:
            reason = f"the run was trained on {len(again)} of the {len(cases)} cases of {split}."
            remedy = "Give --add_data with that run, or --datalist FILE with its splits and the new cases."
            raise ConfigError("--init_from", reason, remedy)
