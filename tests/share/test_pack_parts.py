"""What packing does to configs, metadata and files."""

import math
import os

import pytest
import torch
import yaml
from monai.bundle import ConfigParser
from network_cases import TASKS

from ctan_monai.errors import CheckpointError, ConfigError, DataError
from ctan_monai.files.json_files import as_json
from ctan_monai.networks import create_network
from ctan_monai.networks.base import describe_network
from ctan_monai.share import pack_files
from ctan_monai.share.pack_configs import evaluate_config, inference_config, train_config
from ctan_monai.share.pack_metadata import packed_metadata
from ctan_monai.share.pack_source import Trained
from ctan_monai.share.pack_tables import RunMetrics, metrics_of_run
from ctan_monai.tasks import describe_task

TRAIN = """# python -m monai.bundle run training --config_file bundles/own/configs/train.yaml
dataset_dir: null               # your data
method: ctan                    # or hps
epochs: '$30 if @dataset_dir else 3'  # ours
learning_rate: 0.1
amp: $torch.cuda.is_available() # mixed precision
size: {_target_: somewhere.run_setting, name: size}
settings: {method: '@method', epochs: '@epochs'}
"""
SETTINGS = {"dataset_dir": None, "method": "hps", "epochs": 7, "learning_rate": 1e-05, "amp": True, "size": [4, 4]}
RECORD = as_json(describe_network(create_network("hps", TASKS, "resnet18", in_channels=2)))
METRICS = RunMetrics({"dice": 0.5}, "somewhere", "", "Something.", True)


def test_options_get_the_values_of_the_run_and_keep_their_comments():
    text = train_config(TRAIN, SETTINGS, "own")
    before, after = yaml.safe_load(TRAIN), yaml.safe_load(text)
    assert after == {**before, "method": "hps", "epochs": 7, "learning_rate": 1e-05}
    assert text.splitlines()[0] == "# python -m monai.bundle run training --config_file configs/train.yaml"
    assert text.splitlines()[1:4] == [
        "dataset_dir: null               # your data",
        "method: hps                     # or hps",
        "epochs: 7                       # ours",
    ]


def test_a_option_that_is_written_over_several_lines_is_refused_not_spoiled():
    with pytest.raises(ConfigError, match=r"no line of its own for .*method"):
        train_config(TRAIN.replace("method: ctan  ", "method:\n  ctan"), SETTINGS, "own")


def test_inference_reads_the_weights_that_lie_beside_it():
    text = "tasks: {_target_: ctan_monai.engines.run_tasks, output_dir: '@run_dir'}\n"
    text += "network_def: {_target_: ctan_monai.engines.run_network, output_dir: '@run_dir'}\n"
    text += "method: ctan\nrun_dir: $@bundle_root + '/runs/' + @method\noutput_dir: $@run_dir + '/inference'\n"
    after = yaml.safe_load(inference_config(text, SETTINGS, "own", RECORD))
    assert after["run_dir"] == "$@bundle_root + '/models'"
    assert after["method"] == "hps"
    assert after["network_dose"]["task"] == "dose"
    assert [task["_target_"] for task in after["tasks"]] == [
        f"ctan_monai.tasks.{type(task).__name__}" for task in TASKS
    ]
    parser = ConfigParser(after)  # without a run beside it
    assert as_json(describe_network(parser.get_parsed_content("network_def"))) == RECORD
    with pytest.raises(ConfigError, match=r"\['output_dir', 'run_dir'\]"):
        inference_config("method: ctan\n", SETTINGS, "own", RECORD)


@pytest.mark.parametrize("keeps", [True, False])
@pytest.mark.parametrize("entry", ["datalist", "datalists#split_as"])
def test_evaluation_uses_the_split_of_the_run_where_it_is_packed(keeps, entry):
    text = f"evaluation_dir: $@output_dir + '/evaluation'\n{entry}: $@output_dir + '/datalist.json'\nrun: 1\n"
    after = yaml.safe_load(evaluate_config(text, TRAIN, "own", keeps))
    assert (entry in after) == keeps
    assert after["output_dir"] == "$@bundle_root + '/models'"
    assert "pretrained" not in after
    assert yaml.safe_load(evaluate_config(text, "pretrained: imagenet\n", "own", keeps))["pretrained"] is None


def test_an_archive_does_not_depend_on_when_and_in_which_order_files_were_written(tmp_path):
    archives = []
    for number, names in enumerate((("a.txt", "b.pt"), ("b.pt", "a.txt"))):
        folder = tmp_path / str(number) / "own"
        folder.mkdir(parents=True)
        for name in names:
            (folder / name).write_text(f"{name} " * 100)
            os.utime(folder / name, (number * 1e6, number * 1e6))
            (folder / name).chmod(0o600 + number * 0o44)
        archives.append(tmp_path / f"{number}.zip")
        pack_files.write_zip(folder, archives[-1])
    assert archives[0].read_bytes() == archives[1].read_bytes()


def test_only_what_belongs_to_a_bundle_is_copied(tmp_path):
    bundle = tmp_path / "own"
    for name in ("configs/train.yaml", "LICENSE", "runs/a/model.pt", "cache/x", "patients.csv", "docs/.hidden"):
        (bundle / name).parent.mkdir(parents=True, exist_ok=True)
        (bundle / name).write_text("x")
    pack_files.copy_bundle(bundle, tmp_path / "out")
    copied = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert copied == {"configs/train.yaml", "LICENSE"}
    (bundle / "docs" / "link.md").symlink_to(bundle / "patients.csv")
    with pytest.raises(DataError, match="it is a link"):
        pack_files.copy_bundle(bundle, tmp_path / "again")


def test_small_files_are_not_listed_as_large(tmp_path):
    (tmp_path / "a.pt").write_bytes(bytes(25_000_000))
    assert pack_files.write_large_files(tmp_path, "u") == []
    assert not (tmp_path / "large_files.yml").exists()
    (tmp_path / "a.pt").write_bytes(bytes(25_000_001))
    assert pack_files.write_large_files(tmp_path, "u") == ["a.pt"]


def trained(**changes):
    record = {"tasks": [describe_task(task) for task in TASKS], "in_channels": 2, "spatial_dims": 2}
    return Trained(
        **{"state": {"a": torch.zeros(2, 3), "n": torch.tensor(1)}, "record": record, "settings": {}} | changes
    )


def metadata(**changes):
    tensor = {"spatial_shape": [8, 8], "num_channels": 1, "channel_def": {"0": "CT"}}
    outputs = {"pred": tensor, **{task.name: {**tensor, "spatial_shape": [1]} for task in TASKS[1:]}}
    formats = {"inputs": {"image": tensor}, "outputs": outputs}
    known = {"name": "n", "description": "d", "version": "1.0.0", "changelog": {"1.0.0": "x"}}
    return {**known, "network_data_format": formats, **changes}


def test_metadata_follow_the_network_that_was_trained():
    found = packed_metadata(
        metadata(),
        trained(settings={"image_size": [32, 48]}, versions={"torch": "2.6.0+cpu"}),
        ["ct", "PTV"],
        METRICS,
        {},
        None,
    )
    formats = found["network_data_format"]
    assert formats["inputs"]["image"]["channel_def"] == {"0": "ct", "1": "PTV"}
    assert formats["inputs"]["image"]["num_channels"] == 2
    assert [entry["num_channels"] for entry in formats["outputs"].values()] == [task.channels for task in TASKS]
    assert formats["outputs"]["pred"]["spatial_shape"] == [32, 48]
    assert [entry["spatial_shape"] for entry in formats["outputs"].values()][-1] == [1]
    assert found["pytorch_version"] == "2.6.0"
    assert found["weights"]["parameters"] == 6
    assert found["eval_metrics"] == {"dice": 0.5}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": "1.1.0"}, "changelog does not say what is new in version 1.1.0"),
        ({"changelog": {}}, r"\['changelog'\] is missing"),
        (
            {"network_data_format": {"inputs": {"image": {}}, "outputs": {"dose": {}}}},
            r"outputs \['dose'\], the network's",
        ),
    ],
)
def test_metadata_that_do_not_fit_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        packed_metadata(metadata(**changes), trained(), ["ct", "PTV"], METRICS, {}, None)


def test_metrics_are_those_of_the_test_else_of_the_validation_else_none():
    history = {
        "best": {"all": {"epoch": 2, "score": 0.5}},
        "epochs": [
            {"epoch": 1, "validation": {"dice": 0.1}},
            {"epoch": 2, "validation": {"dice": 0.6, "selection": 0.5}},
        ],
    }
    evaluation = {"cases": 3, "metrics": {"dice": 0.4, "selection": 0.4, "auroc": None, "hd": math.inf}}
    both = metrics_of_run(trained(history=history, evaluation=evaluation))
    assert (both.values, both.prefix, both.evaluated) == ({"dice": 0.4}, "", True)
    assert both.measured_on == "the 3 cases of the test split of the sample"
    chosen = metrics_of_run(trained(history=history))
    assert (chosen.values, chosen.prefix, chosen.evaluated) == ({"dice": 0.6}, "validation_", False)
    single = metrics_of_run(trained(history={"best": {"oar": {"epoch": 1, "score": 0.3}}, "epochs": history["epochs"]}))
    assert single.values == {"oar_selection": 0.3}
    assert metrics_of_run(trained()).values == {}


@pytest.mark.parametrize("history", [{"best": [1]}, {"epochs": 3}, {"epochs": ["a"]}])
def test_metrics_that_no_run_writes_are_refused(history):
    with pytest.raises(CheckpointError, match="is not what a run writes"):
        metrics_of_run(trained(history=history))


def test_synthetic_data_are_called_synthetic():
    data = {"synthetic": True, "cases": {"train": 4}}
    assert metrics_of_run(trained(data=data)).trained_on.startswith("Synthetic data (4 for train)")
    assert "ynthetic" not in metrics_of_run(trained(data={**data, "synthetic": False})).trained_on


@pytest.mark.parametrize("place", ["configs", "sample/prepared", "docs"])
def test_the_key_of_pseudonyms_is_not_packed(tmp_path, place):
    bundle = tmp_path / "own"
    for name in ("configs/train.yaml", f"{place}/.pseudonym.key", f"{place}/renamed.key", f"{place}/kept.json"):
        (bundle / name).parent.mkdir(parents=True, exist_ok=True)
        (bundle / name).write_text("{}")
    pack_files.copy_bundle(bundle, tmp_path / "packed")
    kept = {path.relative_to(tmp_path / "packed").as_posix() for path in (tmp_path / "packed").rglob("*.*")}
    assert kept == {"configs/train.yaml", f"{place}/kept.json"}
