"""A training that starts from another run's weights, and says what these were trained on."""

import hashlib
import json
import logging

import pytest
import torch
from run_kit import Run, TinyNetwork, TinySeparate

from ctan_monai.engines.runs.data_record import write_data_record, write_datalist
from ctan_monai.engines.runs.run_folder import RunFolder
from ctan_monai.engines.runs.torch_file import load_checked
from ctan_monai.engines.runs.training_data import trained_on
from ctan_monai.errors import CheckpointError, ConfigError

SETTINGS = {"method": "tiny", "epochs": 2, "seed": 0, "device": "cpu"}


def record(cases, gy, synthetic=False):
    return {
        "synthetic": synthetic,
        "cases": {"train": cases},
        "prescriptions_gy": {gy: cases},
        "normalized_to_gy": None,
    }


@pytest.fixture
def first(tmp_path):
    """Return the folder of a run that ended."""
    path = tmp_path / "first"
    RunFolder(path, SETTINGS, TinyNetwork())
    write_data_record(path, record(4, "60", synthetic=True))
    Run(path, epochs=1).go()
    return path


def equal(network, state):
    return all(torch.equal(value, state[key]) for key, value in network.state_dict().items())


def test_a_run_starts_from_the_best_network_of_another_and_records_what_that_was_trained_on(first, tmp_path, caplog):
    network, state = TinyNetwork(), load_checked(first / "model.pt", needs_checksum=False)
    assert not equal(network, state)
    with caplog.at_level(logging.INFO):
        RunFolder(tmp_path / "second", {**SETTINGS, "init_from": str(first)}, network)
    assert equal(network, state)
    assert f"Training starts from the best network of {first}" in caplog.text
    write_data_record(tmp_path / "second", record(9, "60"))
    found = json.loads((tmp_path / "second" / "data.json").read_text())
    digest = hashlib.sha256((first / "model.pt").read_bytes()).hexdigest()
    assert found["init_from"] == {"run": "first", "model_sha256": digest, "data": record(4, "60", synthetic=True)}
    said = trained_on(tmp_path / "second")
    assert said.text.startswith("Trained on 9 patients; prescription 60 Gy.")
    assert f"another run's weights. Trained on 4 SYNTHETIC phantoms, no patients; prescription 60 Gy. Weights: " \
        f"SHA-256 {digest[:12]}." in said.text  # fmt: skip
    assert (said.prescription_gy, said.synthetic) == (60.0, True)


def test_with_two_prescriptions_none_is_named(first, tmp_path):
    RunFolder(tmp_path / "second", {**SETTINGS, "init_from": str(first)}, TinyNetwork())
    write_data_record(tmp_path / "second", record(9, "78"))
    assert trained_on(tmp_path / "second").prescription_gy is None


def test_a_third_run_names_both_before_it(first, tmp_path):
    RunFolder(tmp_path / "second", {**SETTINGS, "init_from": str(first)}, TinyNetwork())
    write_data_record(tmp_path / "second", record(9, "60"))
    Run(tmp_path / "second", epochs=1).go()
    RunFolder(tmp_path / "third", {**SETTINGS, "init_from": str(tmp_path / "second")}, TinyNetwork())
    write_data_record(tmp_path / "third", record(20, "60"))
    said = trained_on(tmp_path / "third")
    assert all(f"Trained on {cases}" in said.text for cases in ("20 patients", "9 patients", "4 SYNTHETIC"))
    assert said.synthetic


def test_a_run_can_start_from_the_one_whose_folder_it_takes(first):
    network, state = TinyNetwork(), load_checked(first / "model.pt", needs_checksum=False)
    made = RunFolder(first, {**SETTINGS, "init_from": str(first)}, network)
    assert made.moved_aside == first.with_name("first.1")
    assert equal(network, state)


def test_a_resumed_run_goes_on_with_its_own_weights(first, tmp_path):
    RunFolder(tmp_path / "second", {**SETTINGS, "init_from": str(first)}, TinyNetwork())
    Run(tmp_path / "second", epochs=1).go()
    network, state = TinyNetwork(), load_checked(first / "model.pt", needs_checksum=False)
    made = RunFolder(tmp_path / "second", {**SETTINGS, "init_from": str(first)}, network, resume=True)
    assert made.resumed
    assert not equal(network, state)  # the checkpoint is loaded later
    assert (tmp_path / "second" / "init_from.json").is_file()


def items(*cases):
    return [{"case": case} for case in cases]


def test_cases_that_the_runs_before_were_trained_on_are_not_tested_on(first, tmp_path, caplog):
    write_datalist(first, {"train": items("a", "b"), "validation": items("v"), "test": items("t")}, False)
    RunFolder(tmp_path / "second", {**SETTINGS, "init_from": str(first)}, TinyNetwork())
    Run(tmp_path / "second", epochs=1).go()
    write_datalist(tmp_path / "second", {"train": items("a", "c"), "test": items("t")}, False)
    assert "trained_cases" not in (tmp_path / "second" / "data.json").read_text()
    caplog.clear()
    RunFolder(tmp_path / "third", {**SETTINGS, "init_from": str(tmp_path / "second")}, TinyNetwork())
    assert "does not name the cases" not in caplog.text
    for split, case in (("validation", "b"), ("test", "c")):
        lists = {"train": items("d"), "validation": items("x"), "test": items("y"), split: items(case, "z")}
        with pytest.raises(ConfigError, match=rf"trained on 1 of the 2 cases of {split}.*--datalist"):
            write_datalist(tmp_path / "third", lists)
    write_datalist(tmp_path / "third", {"train": items("b", "v"), "test": items("t", "new")})
    (first / "datalist.json").unlink()
    RunFolder(tmp_path / "fourth", {**SETTINGS, "init_from": str(first)}, TinyNetwork())
    assert "does not name the cases that it was trained on" in caplog.text


@pytest.mark.parametrize(
    ("network", "what", "error"),
    [
        (TinySeparate, "pass", ConfigError),
        (TinyNetwork, "gone", ConfigError),
        (TinyNetwork, "untrained", CheckpointError),
    ],
)
def test_what_cannot_be_started_from_is_refused_before_anything_is_written(first, tmp_path, network, what, error):
    (tmp_path / "untrained").mkdir()
    folder = {"pass": first, "gone": tmp_path / "gone", "untrained": tmp_path / "untrained"}[what]
    said = {"pass": "Pass --method tiny", "gone": "--init_from: there is no folder", "untrained": "no trained network"}
    with pytest.raises(error, match=said[what]):
        RunFolder(tmp_path / "second", {**SETTINGS, "init_from": str(folder)}, network())
    assert not (tmp_path / "second").exists()
