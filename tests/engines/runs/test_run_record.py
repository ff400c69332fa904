"""run.json keeps a network from getting another one's weights, and says which flag to pass."""

import json

import pytest
import torch
from run_kit import TinyNetwork, TinySeparate, same

from ctan_monai.engines.runs.run_record import check_run, describe, differences, load_best, write_run
from ctan_monai.engines.runs.torch_file import save_atomic
from ctan_monai.errors import CheckpointError, ConfigError
from ctan_monai.networks import create_network
from ctan_monai.tasks import Regression, Segmentation


@pytest.fixture
def trained(tmp_path):
    """Folder of a run and its network."""
    network = TinyNetwork()
    write_run(network, tmp_path)
    save_atomic(network.state_dict(), tmp_path / "model.pt")
    return tmp_path, network


def test_the_best_network_is_loaded_into_one_of_the_same_kind(trained):
    folder, network = trained
    fresh = TinyNetwork()
    assert load_best(fresh, folder) is fresh
    assert same(dict(fresh.state_dict()), dict(network.state_dict())) is None


def test_weights_go_through_wrappers(trained):
    folder, network = trained
    fresh = TinyNetwork()
    load_best(torch.nn.DataParallel(fresh), folder)
    assert torch.equal(fresh.body[0].weight, network.body[0].weight)


def test_another_method_names_the_flag_to_pass(trained):
    with pytest.raises(ConfigError, match=r"trained with --method tiny, this is tiny_stl.* Pass --method tiny\."):
        load_best(TinySeparate(), trained[0])


def test_another_encoder_names_the_flag_to_pass(trained):
    with pytest.raises(ConfigError, match=r"--encoder: .* Pass --encoder width4\."):
        load_best(TinyNetwork(width=5), trained[0])


def test_other_tasks_are_shown(trained):
    tasks = (Segmentation("oar", ["Rectum"], overlapping=True), Regression("dose", "Gy", 80.0))
    with pytest.raises(ConfigError, match=r"^tasks: .*saved .*Bladder.*settings\.json"):
        check_run(trained[0], TinyNetwork(tasks=tasks))


def test_an_option_that_changes_no_shape_is_noticed_too(tmp_path):
    tasks = [Segmentation("oar", ["Rectum"], overlapping=True), Regression("dose", "Gy", 80.0)]
    write_run(create_network("ctan", tasks, "resnet18"), tmp_path)
    check_run(tmp_path, create_network("ctan", tasks, "resnet18"))
    with pytest.raises(ConfigError, match=r"^in_channels: .*in_channels: saved 1, now 2"):
        check_run(tmp_path, create_network("ctan", tasks, "resnet18", in_channels=2))


def test_without_a_record_the_weights_must_still_fit(trained, caplog):
    folder, _ = trained
    (folder / "run.json").unlink()
    load_best(TinyNetwork(), folder)
    assert "run.json is missing" in caplog.text
    with pytest.raises(CheckpointError, match=r"model\.pt: weights do not fit .*body\.0\.weight: saved \[4, 1, 3, 3\]"):
        load_best(TinyNetwork(width=5), folder)


def test_a_damaged_record_says_so(trained):
    (trained[0] / "run.json").write_text('{"method": ')
    with pytest.raises(CheckpointError, match=r"run\.json: it cannot be read"):
        check_run(trained[0], TinyNetwork())


def test_a_run_without_a_network_says_what_to_do(tmp_path):
    with pytest.raises(CheckpointError, match=r"no trained network\. Remedy: Train first with --output_dir .*nowhere"):
        load_best(TinyNetwork(), tmp_path / "nowhere")


def test_a_file_that_is_no_state_dict_is_refused(trained):
    save_atomic([1, 2], trained[0] / "model.pt")
    with pytest.raises(CheckpointError, match="found a list, expected a network's state dict"):
        load_best(TinyNetwork(), trained[0])


def test_a_model_that_another_program_saved_is_accepted(trained):
    folder, network = trained
    torch.save(network.state_dict(), folder / "model.pt")
    load_best(TinyNetwork(), folder)


def test_the_record_is_plain_json_that_equals_the_description(trained):
    folder, network = trained
    assert json.loads((folder / "run.json").read_text()) == describe(network)
    assert describe(network)["tasks"][1]["kind"] == "Regression"


def test_a_network_without_tasks_is_refused():
    with pytest.raises(ConfigError, match="found Linear, expected a network of create_network"):
        describe(torch.nn.Linear(1, 1))


def test_differences_are_found_at_any_depth_and_on_both_sides():
    saved = {"a": 1, "b": {"c": [1, 2], "d": 3}, "gone": None}
    now = {"a": 1, "b": {"c": [1], "d": 3}, "new": 0}
    assert differences(saved, now) == ["b.c: saved [1, 2], now [1]", "new: saved None, now 0"]
