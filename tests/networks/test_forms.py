"""Runs made before an option existed get the network that they trained, with nobody saying so."""

import json
import lzma
from pathlib import Path

import pytest
import torch
import yaml
from monai.bundle import ConfigParser
from network_cases import TASKS, seeded_state, wave

from ctan_monai.engines import RunFolder
from ctan_monai.engines.runs.run_network import network_of_run
from ctan_monai.engines.runs.run_record import check_run, describe, load_best, write_run
from ctan_monai.errors import ConfigError
from ctan_monai.networks import create_network
from ctan_monai.networks.forms import complete_record, form_overrides, take_form
from ctan_monai.share.pack_configs import form_lines

RUNS = json.loads(lzma.decompress(Path(__file__).with_name("runs.json.xz").read_bytes()))  # see record_runs.py
NAMES = [f"{run['record']['method']}-{run['record']['encoder']}" for run in RUNS]
FORM = {"split", "join", "pool", "expansion"}


@pytest.fixture(params=RUNS, ids=NAMES)
def run(request, tmp_path):
    """Folder of a run of an earlier version, and what its network answered."""
    (tmp_path / "run.json").write_text(json.dumps(request.param["record"]))
    torch.save(seeded_state(request.param["shapes"]), tmp_path / "model.pt")
    return tmp_path, request.param


def as_today(record):
    """Build the network as today's configs do, which name no option of the form."""
    chosen = {
        group: {name: value for name, value in record[group].items() if name not in FORM}
        for group in ("encoder_options", "decoder_options", "network_options")
    }
    chosen["network_options"] = {record["method"]: chosen["network_options"]}
    return create_network(record["method"], TASKS, record["encoder"], **chosen)


def answers(network):
    with torch.no_grad():
        logits = network.eval()(wave(1, 1, 64, 64))
    return {name: [value.double().mean().item(), value.double().std().item()] for name, value in logits.items()}


def test_the_network_of_an_earlier_run_answers_as_it_did(run):
    folder, before = run
    for name, values in answers(network_of_run(folder)).items():
        assert values == pytest.approx(before["answers"][name], rel=1e-3, abs=1e-5)


def test_weights_of_an_earlier_run_find_the_network_that_todays_config_builds(run):
    folder, before = run
    network = as_today(before["record"])
    held = {"network": network}  # as a config's other entries do
    assert load_best(network, folder) is held["network"]
    for name, values in answers(held["network"]).items():
        assert values == pytest.approx(before["answers"][name], rel=1e-3, abs=1e-5)
    write_run(network, folder)  # names the form from now on
    load_best(as_today(before["record"]), folder)


def test_resuming_makes_the_optimizer_of_the_parameters_that_the_earlier_run_has(run):
    folder, before = run
    (folder / "last.pt").touch()  # RunFolder asks only whether there is one
    network = as_today(before["record"])
    RunFolder(folder, network=network, resume=True, config_files=[])
    optimizer = torch.optim.Adam(network.parameters())
    network.load_state_dict(seeded_state(before["shapes"]), strict=True)
    assert {id(value) for value in optimizer.param_groups[0]["params"]} == {id(p) for p in network.parameters()}


def test_an_option_that_was_given_is_not_overruled(tmp_path):
    write_run(create_network("hps", TASKS, "resnet18", decoder_options={"join": "wide"}), tmp_path)
    network = create_network("hps", TASKS, "resnet18", decoder_options={"join": "project"})
    assert not take_form(network, json.loads((tmp_path / "run.json").read_text()))
    with pytest.raises(ConfigError, match=r"decoder_options.join: saved 'wide', now 'project'"):
        check_run(tmp_path, network)


def test_the_form_of_another_method_is_not_taken():
    network = create_network("hps", TASKS, "resnet18")
    assert not take_form(network, describe(create_network("stl", TASKS, "resnet18", decoder_options={"join": "wide"})))
    assert not take_form(network, None)
    assert describe(network)["decoder_options"] == {"join": "project"}


def test_mode_and_type_of_the_weights_stay():
    network = create_network("mtan", TASKS, "resnet18").eval().double()
    assert take_form(network, {"method": "mtan", "encoder": "resnet18", "decoder_options": {}, "network_options": {}})
    assert not network.training
    assert next(network.parameters()).dtype is torch.float64


def test_todays_records_are_complete():
    for method in ("ctan", "mtan", "hps", "stl"):
        record = describe(create_network(method, TASKS, "resnet18"))
        assert complete_record(record) == record


@pytest.mark.parametrize("named", [{}, {"encoder_options": {}, "decoder_options": {"full_resolution": False}}])
def test_a_packed_config_builds_the_form_of_its_run(run, named, tmp_path):
    record = complete_record(run[1]["record"])
    options = {group: record[group] for group in named} if named else {}
    plain = {name: {key: entry for key, entry in value.items() if key not in FORM} for name, value in options.items()}
    definition = {"_target_": "ctan_monai.networks.create_network", "method": record["method"], **plain}
    definition |= {"encoder": record["encoder"], "network_options": {"mtan": {}}}
    tasks = {"tasks": [{"_target_": "ctan_monai.tasks.Regression", "name": "dose", "unit": "Gy", "scale": 70.0}] * 2}
    tasks["tasks"][1] = {**tasks["tasks"][1], "name": "energy"}
    config = {**tasks, "network_def": {**definition, "tasks": "@tasks"}}
    built = built_by(yaml.safe_dump(config), tmp_path)
    lines = form_lines(form_overrides(built, record, config["network_def"]))
    changed = describe(built_by(yaml.safe_dump(config, sort_keys=False) + lines, tmp_path))
    for group in ("encoder_options", "decoder_options", "network_options"):
        for name in FORM & set(record[group]):
            assert changed[group][name] == record[group][name]


def built_by(text, folder):
    (folder / "config.yaml").write_text(text)
    parser = ConfigParser()
    parser.read_config(str(folder / "config.yaml"))
    return parser.get_parsed_content("network_def")
