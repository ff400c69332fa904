"""A run's network and tasks, from its folder alone."""

import pytest
import torch
from network_cases import TASKS

from ctan_monai.engines.runs.run_network import network_of_run, run_network, run_tasks
from ctan_monai.engines.runs.run_record import describe, write_run
from ctan_monai.engines.runs.torch_file import save_atomic
from ctan_monai.errors import CheckpointError, ConfigError
from ctan_monai.networks import create_network


@pytest.mark.parametrize("method", ["ctan", "stl"])
def test_a_network_is_built_as_it_was_trained_without_an_option(tmp_path, method):
    trained = create_network(method, TASKS, "resnet18", in_channels=3, decoder_options={"full_resolution": True})
    write_run(trained, tmp_path)
    built = run_network(tmp_path)
    assert describe(built) == describe(trained)
    assert run_tasks(tmp_path) == list(TASKS)
    save_atomic(trained.state_dict(), tmp_path / "model.pt")
    weights = network_of_run(tmp_path).state_dict()
    assert all(torch.equal(weights[name], value) for name, value in trained.state_dict().items())


def test_method_and_encoder_may_be_said_again_but_no_others(tmp_path):
    write_run(create_network("hps", TASKS, "resnet18"), tmp_path)
    assert run_network(tmp_path, "hps", "resnet18").method == "hps"
    for given, found in (
        (("ctan", None), "--method hps, this is ctan"),
        ((None, "resnet50"), "--encoder resnet18, this"),
    ):
        with pytest.raises(ConfigError, match=found):
            run_network(tmp_path, *given)


@pytest.mark.parametrize("build", [run_network, run_tasks])
def test_a_folder_without_a_run_names_what_to_do(tmp_path, build):
    with pytest.raises(
        CheckpointError, match=r"no trained network\. Remedy: Train first with --output_dir .*, or name"
    ):
        build(tmp_path / "nowhere")
    (tmp_path / "run.json").write_text('{"method": "ctan"}')
    with pytest.raises(CheckpointError, match=r"run\.json: no network can be built from it \(KeyError\('tasks'\)\)"):
        build(tmp_path)
