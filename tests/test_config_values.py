"""Texts that MONAI would run are refused wherever data become a part of a config."""

import json
import shutil
from pathlib import Path

import pytest
from monai.bundle import ConfigParser
from typer.testing import CliRunner

from ctan_monai.apps.comparing.bundle import Bundle
from ctan_monai.apps.main import app
from ctan_monai.apps.new_tasks import parse_task
from ctan_monai.config_values import refuse_code
from ctan_monai.engines.runs.run_record import write_run
from ctan_monai.engines.runs.torch_file import save_atomic
from ctan_monai.errors import ConfigError
from ctan_monai.federated.files import read_options
from ctan_monai.networks import create_network
from ctan_monai.serve.write_app import write_app
from ctan_monai.share import pack_bundle
from ctan_monai.share.pack_configs import train_config
from ctan_monai.share.run_images import images_of_run
from ctan_monai.tasks import Classification, Regression, Segmentation, task_from

HAM10000 = Path(__file__).parents[1] / "bundles" / "ham10000"
TEXTS = ["$__import__('os').mkdir('{marker}')", "@bundle_root", "%{marker}.json::x", "$"]
HOLDERS = {
    "option": lambda text: {"method": text},
    "another": lambda text: {"nobody_asks_for": text},
    "list": lambda text: {"image_size": [48, text]},
    "deep": lambda text: {"weights": {"lesion": {"more": [text]}}},
    "key": lambda text: {"weights": {text: 1}},
    "place": lambda text: {"dataset_dir": text},
    "instruction": lambda text: {"size": {"_target_": "os.mkdir", "path": text.lstrip("$@%") or "x"}},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a run of the bundle ham10000 whose network is small, as a training leaves it."""
    folder = tmp_path_factory.mktemp("run")
    parser = ConfigParser()
    parser.read_config(str(HAM10000 / "configs" / "train.yaml"))
    network = create_network("hps", parser.get_parsed_content("tasks"), "resnet18", in_channels=3)
    write_run(network, folder)
    save_atomic(network.state_dict(), folder / "model.pt")
    settings = {"method": "hps", "encoder": "resnet18", "image_size": [48, 64], "dataset_dir": None}
    (folder / "settings.json").write_text(json.dumps(settings))
    (folder / "configs").mkdir()
    shutil.copy(HAM10000 / "configs" / "train.yaml", folder / "configs")
    return folder


def with_settings(run, folder, more, without=None):
    shutil.copytree(run, folder, ignore=shutil.ignore_patterns(str(without)))
    path = folder / "settings.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **more}))
    return folder


@pytest.mark.parametrize("holder", HOLDERS)
@pytest.mark.parametrize("text", TEXTS)
def test_a_runs_settings_do_not_become_a_program(run, tmp_path, text, holder):
    marker = tmp_path / "it_ran"
    stranger = with_settings(run, tmp_path / "run", HOLDERS[holder](text.format(marker=marker)), "model.pt")
    for use in (
        lambda: pack_bundle(HAM10000, stranger, tmp_path / "packed"),
        lambda: write_app(HAM10000, stranger, tmp_path / "app"),
        lambda: images_of_run(stranger, None),
        lambda: read_options(stranger / "settings.json"),
    ):
        with pytest.raises(ConfigError, match=r"settings\.json.*(begins with|is an instruction)"):
            use()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]


def test_monai_would_have_run_them(tmp_path):
    """The reason of the refusal, shown on MONAI itself."""
    (tmp_path / "x.json").write_text('{"x": "from a file"}')
    parser = ConfigParser({"a": f"$__import__('os').mkdir('{tmp_path / 'it_ran'}')", "b": f"%{tmp_path}/x.json::x"})
    parser.get_parsed_content("a")
    assert (tmp_path / "it_ran").is_dir()
    assert parser.get_parsed_content("b") == "from a file"


@pytest.mark.parametrize("file", ["data.json", "metrics.json", "evaluation/summary.json", "run.json"])
def test_nor_do_the_other_files_of_a_run(run, tmp_path, file):
    stranger = with_settings(run, tmp_path / "run", {})
    path = stranger / file
    path.parent.mkdir(exist_ok=True)
    content = json.loads(path.read_text()) if path.is_file() else {"synthetic": True, "cases": {}}
    path.write_text(json.dumps({**content, "about": ["fine", {"x": "$print(1)"}]}))
    with pytest.raises(ConfigError, match=r"begins with \$|was trained with other settings"):
        pack_bundle(HAM10000, stranger, tmp_path / "packed")
    assert not (tmp_path / "packed").exists()


@pytest.mark.parametrize("name", ["$x", "@tasks", "%50"])
def test_labels_classes_and_units_begin_otherwise(name):
    for make in (
        lambda: Segmentation("oar", ["Rectum", name]),
        lambda: Classification("grade", [name, "high"]),
        lambda: Regression("fat", name, 100.0),
        lambda: task_from({"kind": "Segmentation", "name": "oar", "labels": [name]}),
        lambda: parse_task(f"regression:fat={name.replace('@', '$')}@scale=1"),
        lambda: train_config("method: ctan\n", {"method": name}, "own"),
        lambda: Bundle(f"{name}/bundle"),
    ):
        with pytest.raises(ConfigError, match=r"begins with|cannot be used"):
            make()
    Segmentation("oar", ["cost$", "a@b", "50%"])  # elsewhere they are letters as others


def test_a_share_has_a_unit_that_a_config_can_hold(tmp_path):
    """`unit: '%'` was written before, which MONAI takes for the whole config."""
    assert parse_task("regression:fat=percent@image").task.scale == 100
    given = ["new", "fat", "--task", "regression:fat=%@image@scale=100", "--out", str(tmp_path)]
    done = CliRunner().invoke(app, given)
    assert done.exit_code == 2
    assert "such as percent" in " ".join(done.output.split())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["compare", "--bundle", str(HAM10000), "--out", "%comparison"],
        ["verify", "--bundle", str(HAM10000), "--datalist", "$1"],
        ["federate", "--bundle", str(HAM10000), "--out", "job", "--export", "--", "--learning_rate", "$1e-3"],
        ["federate", "--bundle", str(HAM10000), "--out", "job", "--export", "--", "--image_size", "['@batch_size', 1]"],
    ],
)
def test_paths_and_what_all_sites_share_are_no_expressions(arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "$1").write_text("case,image\n")
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 2, done.output
    assert "begins with" in " ".join(done.output.split())


def test_plain_values_pass():
    refuse_code({"a": [1, 2.5, None, True, "x", {"b": ("c$", "a@b")}], "epochs": 3}, "settings.json")
