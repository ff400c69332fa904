"""datalist.json: which cases a run was trained, validated and is to be tested on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ctan_monai.engines.distributed.processes import rank
from ctan_monai.engines.runs.data_record import write_data_record
from ctan_monai.files.json_files import write_json

DATALIST_FILE = "datalist.json"


def write_datalist(
    output_dir: str | Path, datalists: Mapping[str, Sequence[Mapping[str, Any]]], synthetic: bool | None = None
) -> None:
    """Write ``<output_dir>/datalist.json``; of several processes, the first does.

    It is what a bundle's ``datalist`` takes. An evaluation that reads it tests on the cases that were held out, also if
    cases have been added to the data since, which would have changed the split.

    Args:
        output_dir: the run's folder.
        datalists: items with a ``case`` by split; of several items of one case, such as its slices, it is named once.
        synthetic: whether the cases are; data.json (`write_data_record`) then says so, and their number. None: without.

    Raises:
        CheckpointError: the file could not be written.
    """
    if rank() == 0:
        named = {split: list(dict.fromkeys(item["case"] for item in items)) for split, items in datalists.items()}
        write_json(named, Path(str(output_dir)) / DATALIST_FILE)
        if synthetic is not None:
            counts = {split: len(cases) for split, cases in named.items()}
            write_data_record(output_dir, {"synthetic": bool(synthetic), "cases": counts})
