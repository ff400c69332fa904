"""Damaged files of a run's folder: refused by name or read as before, never a traceback or other weights."""

import json
import logging
from collections import Counter

import pytest
from mutants import mutate
from run_kit import Run, TinyNetwork, same

from ctan_monai.data.lists.datalist import read_choice
from ctan_monai.engines.runs.data_record import read_data_record, write_data_record
from ctan_monai.engines.runs.manifest import run_setting
from ctan_monai.engines.runs.run_folder import RunFolder
from ctan_monai.engines.runs.run_record import load_best
from ctan_monai.errors import CtanError

pytestmark = pytest.mark.faults
SETTINGS = {"seed": 1, "size": [3, 4], "method": "tiny"}
RECORD = {"synthetic": True, "prescriptions_gy": {"60": 3}, "normalized_to_gy": None, "cases": {"train": 3}}
READERS = {
    "run.json": lambda folder: load_best(TinyNetwork(), folder),
    "data.json": read_data_record,
    "settings.json": lambda folder: run_setting(folder, "size"),
    "choice.json": lambda folder: read_choice(folder / "choice.json"),
    "model.pt": lambda folder: load_best(TinyNetwork(), folder),
    "settings.json, resumed": lambda folder: RunFolder(folder, SETTINGS, TinyNetwork(), [], True),
    "run.json, resumed": lambda folder: RunFolder(folder, SETTINGS, TinyNetwork(), [], True),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    logging.disable()
    folder = tmp_path_factory.mktemp("run_files") / "run"
    RunFolder(folder, SETTINGS, TinyNetwork(), [])
    Run(folder, epochs=1).go()
    write_data_record(folder, RECORD)
    (folder / "choice.json").write_text(json.dumps({"train": ["pt_1", "pt_2"], "validation": ["pt_3"]}))
    yield folder
    logging.disable(logging.NOTSET)


@pytest.mark.promise(2, "damaged files of a run are refused or do no harm; model.pt never gives other weights")
@pytest.mark.parametrize("name", READERS)
def test_damaged_files_of_a_run_are_refused_or_do_no_harm(folder, name, count, record):
    path, read, total = folder / name.split(",")[0], READERS[name], count(28, 280)
    sound, outcomes, messages = path.read_bytes(), Counter(), []
    weights = load_best(TinyNetwork(), folder).state_dict()
    for number in range(total):
        path.write_bytes(mutate(sound, number)[1])
        try:
            found = read(folder)
        except CtanError as error:
            messages.append(str(error))
            outcomes["refused"] += 1
        else:
            outcomes["read"] += 1
            if name in ("model.pt", "run.json"):
                assert same(found.state_dict(), weights) is None
        finally:
            path.write_bytes(sound)
    record(f"{name}: of {total} {outcomes['refused']} refused, {outcomes['read']} read")
    assert outcomes["refused"] + outcomes["read"] == total
    assert all(str(folder) in message or "--" in message for message in messages)  # the file, or the flag to pass
