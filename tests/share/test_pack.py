"""A packed bundle works elsewhere as the run it was made from, for everybody who reads the Model Zoo's format."""

import hashlib
import json
import os
import re
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from jsonschema import validate
from monai.bundle import ckpt_export, create_workflow, download, load, verify_net_in_out
from pack_kit import HAM10000, ROOT, kept_logging, run_config
from safetensors.torch import load_file
from typer.testing import CliRunner

from ctan_monai.apps.main import app
from ctan_monai.errors import CheckpointError, ConfigError, DataError
from ctan_monai.share import pack as module
from ctan_monai.share import pack_bundle
from ctan_monai.share.pack_configs import parsed
from ctan_monai.transforms.postprocess import postprocess_for

SCHEMA = ROOT / "benchmarks" / "zoo_schema.json"
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def packed(small_run, tmp_path_factory):
    """Pack by the command, as a user does."""
    out = tmp_path_factory.mktemp("packed")
    arguments = [
        "pack",
        str(HAM10000),
        "--weights",
        str(small_run),
        "--out",
        str(out),
        "--url",
        "https://example.org/x/",
        "--no-vendor",
    ]
    result = CliRunner().invoke(app, arguments, env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    assert "trained on synthetic data" in result.output
    return out


@pytest.fixture(scope="module")
def elsewhere(packed, tmp_path_factory):
    """Unpack the archive in another place."""
    folder = tmp_path_factory.mktemp("elsewhere")
    shutil.unpack_archive(packed / "ham10000.zip", folder / "unpacked")
    return folder / "unpacked" / "ham10000"


def metadata_of(folder):
    return json.loads((folder / "configs" / "metadata.json").read_text())


def test_the_archive_holds_the_folder(packed, elsewhere):
    def files(folder):
        return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    assert files(packed / "ham10000") == files(elsewhere)
    assert {"LICENSE", "large_files.yml", "models/model.pt", "docs/model_card.md"} <= set(files(elsewhere))
    assert sorted(path.name for path in packed.iterdir()) == ["ham10000", "ham10000.zip"]


def test_inference_without_any_option_answers_as_the_run_did(elsewhere, small_run):
    made = run_config(elsewhere, "inference.yaml", run_id="run", kind="infer")
    assert made.check_properties() == []
    answers = (elsewhere / "eval" / "inference" / "predictions.csv").read_text()
    assert answers == (small_run / "inference" / "predictions.csv").read_text()
    assert len(answers.splitlines()) > 2


def test_evaluation_without_any_option_gives_the_metrics_of_the_pages(elsewhere, small_run):
    run_config(elsewhere, "train.yaml", "evaluate.yaml", run_id="evaluating")
    metrics = json.loads((elsewhere / "eval" / "evaluation" / "summary.json").read_text())
    assert metrics == json.loads((small_run / "evaluation" / "summary.json").read_text())
    dice = metrics["metrics"]["lesion_dice"]
    for page in ("README.md", "model_card.md"):
        assert f"| lesion_dice | {dice:.4g} |" in (elsewhere / "docs" / page).read_text()
    assert metadata_of(elsewhere)["eval_metrics"]["lesion_dice"] == pytest.approx(dice, abs=1e-6)


def test_training_on_the_same_split_repeats_the_run(elsewhere, small_run):
    datalist = str(elsewhere / "models" / "datalist.json")
    run_config(elsewhere, "train.yaml", run_id="training", datalist=datalist)
    again = torch.load(elsewhere / "runs" / "hps" / "model.pt", weights_only=True)
    before = torch.load(small_run / "model.pt", weights_only=True)
    assert all(torch.equal(again[name], tensor) for name, tensor in before.items())


def test_monai_downloads_and_loads_it(packed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    download(name="ham10000", bundle_dir=".", url=(packed / "ham10000.zip").as_uri(), progress=False)
    with kept_logging():
        network = load("ham10000", bundle_dir=".", workflow_type="inference", device="cpu").eval()
        config = str(tmp_path / "ham10000" / "configs" / "inference.yaml")
        workflow = create_workflow(config_file=config, workflow_type="infer", bundle_root="ham10000")
    image = torch.rand(1, 3, 48, 64)
    with torch.no_grad():
        expected = workflow.network_def.eval()(image)
        answer = network(image)
    assert workflow.network_def is not network
    assert all(torch.equal(answer[name], logits) for name, logits in expected.items())


def test_weights_are_plain_and_the_same_in_both_files(elsewhere, small_run):
    trained = torch.load(small_run / "model.pt", weights_only=True)
    for state in (
        torch.load(elsewhere / "models" / "model.pt", weights_only=True),
        load_file(elsewhere / "models" / "model.safetensors"),
    ):
        assert list(sorted(state)) == list(sorted(trained))
        assert all(torch.equal(state[name], tensor) for name, tensor in trained.items())
    for name, entry in metadata_of(elsewhere)["weights"]["files"].items():
        content = (elsewhere / name).read_bytes()
        assert (entry["bytes"], entry["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())


def test_large_files_are_listed_with_their_address_and_digest(elsewhere):
    listed = yaml.safe_load((elsewhere / "large_files.yml").read_text())["large_files"]
    over = {str(path.relative_to(elsewhere)) for path in elsewhere.rglob("*") if path.stat().st_size > 25e6}
    assert {entry["path"] for entry in listed} == {name for name in over if name.startswith("models/")}
    for entry in listed:
        assert entry["url"] == f"https://example.org/x/{entry['path']}"
        assert entry["hash_val"] == hashlib.md5((elsewhere / entry["path"]).read_bytes()).hexdigest()  # noqa: S324


def test_the_metadata_describe_this_network_and_every_output(elsewhere):
    metadata = metadata_of(elsewhere)
    validate(metadata, json.loads(SCHEMA.read_text()))
    assert metadata["version"] in metadata["changelog"]
    assert "ctan-monai" not in metadata["required_packages_version"]  # the name is nobody's in the registry
    assert metadata["code"].startswith("ctan_monai ")
    formats = metadata["network_data_format"]
    assert formats["inputs"]["image"]["spatial_shape"] == formats["outputs"]["pred"]["spatial_shape"] == [48, 64]
    assert {name: entry["num_channels"] for name, entry in formats["outputs"].items()} == {"pred": 1, "diagnosis": 7}


def test_each_output_alone_has_the_shape_that_the_metadata_say(elsewhere, tmp_path):
    metadata = metadata_of(elsewhere)
    formats = metadata["network_data_format"]
    for task, output in (("lesion", "pred"), ("diagnosis", "diagnosis")):
        one = tmp_path / f"{task}.json"
        metadata["network_data_format"] = {**formats, "outputs": {"pred": formats["outputs"][output]}}
        one.write_text(json.dumps(metadata))
        config = str(elsewhere / "configs" / "inference.yaml")
        verify_net_in_out(f"network_{task}", str(one), config, device="cpu", bundle_root=str(elsewhere))


def test_monai_exports_the_checkpoint(elsewhere, tmp_path):
    ckpt_export(
        net_id="network_def",
        filepath=str(tmp_path / "model.ts"),
        ckpt_file=str(elsewhere / "models" / "model.pt"),
        meta_file=str(elsewhere / "configs" / "metadata.json"),
        config_file=str(elsewhere / "configs" / "inference.yaml"),
        bundle_root=str(elsewhere),
    )
    assert set(torch.jit.load(tmp_path / "model.ts")(torch.rand(1, 3, 48, 64))) == {"lesion", "diagnosis"}


def test_pages_follow_the_order_of_the_zoo_and_say_that_the_data_are_synthetic(elsewhere, small_run):
    page = (elsewhere / "docs" / "README.md").read_text()
    titles = re.findall(r"^#+ (.+)$", page, re.MULTILINE)
    assert titles == [
        "Model Overview",
        "Data",
        "Preprocessing",
        "Training configuration",
        "Input",
        "Output",
        "Performance",
        "Training Loss and Dice",
        "MONAI Bundle Commands",
        "Execute training:",
        "Override the `train` config to execute multi-GPU training:",
        "Override the `train` config to execute evaluation with the trained model:",
        "Execute inference:",
        "System configuration",
        "Limitations",
        "References",
        "License",
    ]
    assert "torchrun --standalone --nnodes=1 --nproc_per_node=2" in page
    assert "](curves.png)" in page
    assert (elsewhere / "docs" / "curves.png").read_bytes() == (small_run / "images" / "curves.png").read_bytes()
    for name in ("README.md", "model_card.md"):
        text = (elsewhere / "docs" / name).read_text()
        assert "Synthetic data (4 for train, 2 for validation, 2 for test)" in text
        about_real_data = ["No weights are shipped", "10,015", "10015", "dataverse", "doi.org/10.7910", "CC BY-NC-SA"]
        assert not [words for words in about_real_data if words in text]
    assert "synthetic" in metadata_of(elsewhere)["data_source"]
    assert (
        (elsewhere / "docs" / "data_license.txt").read_text().startswith("The weights in models/ were trained on syn")
    )


def test_the_page_maps_the_metadata_s_names_to_those_of_the_tasks(elsewhere):
    page = (elsewhere / "docs" / "README.md").read_text()
    assert "| `pred` | `lesion` | 0 lesion | sigmoid of each channel; at least 0.5 |" in page
    assert "| `diagnosis` | `diagnosis` | 0 nv, 1 mel, 2 bkl, 3 bcc, 4 akiec, 5 vasc, 6 df | softmax over the" in page
    assert "0 background, 1 lesion" in page


def test_the_metadata_say_what_the_network_returns_and_what_is_made_of_it(elsewhere):
    outputs = metadata_of(elsewhere)["network_data_format"]["outputs"]
    network = parsed(elsewhere, "inference.yaml", "network_def").eval()
    state = torch.load(elsewhere / "models" / "model.pt", weights_only=True)
    network.load_state_dict(state)
    with torch.no_grad():
        logits = network(5 * torch.randn(3, 3, 48, 64))
    assert list(outputs) == ["pred", "diagnosis"]
    for entry, task in zip(outputs.values(), network.tasks, strict=True):
        found = logits[entry["task"]]
        assert entry["num_channels"] == len(entry["channel_def"]) == found.shape[1]
        assert entry["value_range"] == []  # of logits, some of which lie outside of [0, 1]
        probs = torch.sigmoid(found) if entry["activation"] == "sigmoid" else torch.softmax(found, 1)
        final = postprocess_for(task)(found)
        expected = probs >= entry["threshold"] if entry["threshold"] != "argmax" else probs
        torch.testing.assert_close(final, expected)
    assert not all(float(value.min()) >= 0 and float(value.max()) <= 1 for value in logits.values())


def test_nothing_says_where_the_training_took_place(elsewhere, small_run):
    assert json.loads((small_run / "settings.json").read_text())["datalist"].endswith("few.json")
    places = {str(small_run), str(small_run.parent), str(ROOT), str(Path.home())} - {"/", "/root"}
    for path in elsewhere.rglob("*"):
        if path.is_file() and "runs" not in path.parts and "cache" not in path.parts and "eval" not in path.parts:
            content = path.read_bytes()
            assert not [place for place in places if place.encode() in content], path


def test_names_of_cases_are_packed_only_if_they_are_synthetic_or_asked_for(small_run, tmp_path):
    real = tmp_path / "real"
    shutil.copytree(small_run, real, ignore=shutil.ignore_patterns("last*.pt", "tensorboard", "evaluation"))
    record = json.loads((real / "data.json").read_text())
    (real / "data.json").write_text(json.dumps({**record, "synthetic": False}))
    without = pack_bundle(HAM10000, real, tmp_path / "without")
    assert not (without.folder / "models" / "datalist.json").exists()
    assert "datalist" not in yaml.safe_load((without.folder / "configs" / "evaluate.yaml").read_text())
    assert any("--case-names" in words for words in without.warnings)
    assert any("not evaluated" in words for words in without.warnings)
    assert "no test was run" in (without.folder / "docs" / "README.md").read_text()
    named = pack_bundle(HAM10000, real, tmp_path / "named", case_names=True)
    assert (named.folder / "models" / "datalist.json").read_bytes() == (real / "datalist.json").read_bytes()


def test_the_same_run_gives_the_same_archive(packed, small_run, tmp_path):
    again = pack_bundle(HAM10000, small_run, tmp_path, url="https://example.org/x")
    assert again.archive.read_bytes() == (packed / "ham10000.zip").read_bytes()


def test_metrics_that_are_older_than_the_weights_are_warned_of(small_run, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(small_run, run, copy_function=os.link, ignore=shutil.ignore_patterns("summary.json"))
    shutil.copyfile(small_run / "evaluation" / "summary.json", run / "evaluation" / "summary.json")
    os.utime(run / "evaluation" / "summary.json", (1e9, 1e9))
    assert any("evaluate again" in words for words in pack_bundle(HAM10000, run, tmp_path / "out").warnings)


@pytest.mark.parametrize("taken", ["ham10000", "ham10000.zip"])
def test_what_is_there_is_not_overwritten(small_run, tmp_path, taken):
    (tmp_path / taken).write_text("mine")
    with pytest.raises(ConfigError, match=rf"{taken} is there already\. Remedy: "):
        pack_bundle(HAM10000, small_run, tmp_path)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]


def test_a_full_disk_leaves_nothing_behind(small_run, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.pack_files, "write_zip", full)
    with pytest.raises(DataError, match="No space left on device"):
        pack_bundle(HAM10000, small_run, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("missing", ["model.pt", "run.json", "settings.json"])
def test_a_run_that_is_not_whole_is_named_in_one_line(small_run, tmp_path, missing):
    broken = tmp_path / "broken"
    broken.mkdir()
    for name in {"model.pt", "run.json", "settings.json"} - {missing}:
        shutil.copyfile(small_run / name, broken / name)
    arguments = ["pack", str(HAM10000), "--weights", str(broken), "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert missing in result.output
    assert "Remedy: " in result.output
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def test_weights_that_are_missing_damaged_or_of_another_network_are_refused(small_run, tmp_path):
    with pytest.raises(CheckpointError, match="there is no such file or folder"):
        pack_bundle(HAM10000, tmp_path / "nothing", tmp_path / "out")
    damaged = tmp_path / "weights.safetensors"
    damaged.write_bytes(b"not weights at all")
    with pytest.raises(CheckpointError, match="it cannot be read"):
        pack_bundle(HAM10000, damaged, tmp_path / "out")
    other = tmp_path / "other.pt"
    shutil.copyfile(small_run / "model.pt", other)  # of hps and resnet18, where the config builds ctan and resnet50
    with pytest.raises(CheckpointError, match="weights do not fit the network"):
        pack_bundle(HAM10000, other, tmp_path / "out")
    with pytest.raises(ConfigError, match="builds another network than the one that was trained: "):
        pack_bundle(ROOT / "bundles" / "openkbp", small_run, tmp_path / "out")
    assert not (tmp_path / "out").exists() or list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda configs: (configs / "inference.yaml").unlink(), r"has no configs/inference\.yaml"),
        (lambda configs: (configs / "train.yaml").unlink(), r"no configs/train\.yaml"),
        (lambda configs: (configs / "train.yaml").write_text("a: [1"), "a file of .* cannot be read"),
        (lambda configs: (configs / "train.yaml").write_bytes(b"a: \xff"), "a file of .* cannot be read"),
        (lambda configs: (configs / "metadata.json").write_text("{"), r"metadata\.json: it cannot be read"),
        (lambda configs: (configs.parent / "LICENSE").unlink(), "has no LICENSE"),
    ],
)
def test_what_is_no_whole_bundle_is_refused_and_nothing_stays(small_run, tmp_path, damage, message):
    bundle = tmp_path / "ham10000"
    shutil.copytree(HAM10000, bundle, ignore=shutil.ignore_patterns("cache", "runs"))
    damage(bundle / "configs")
    with pytest.raises(ConfigError, match=message):
        pack_bundle(bundle, small_run, tmp_path / "out")
    assert not (tmp_path / "out").exists() or list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("name", ["model.pt", "weights.safetensors"])
def test_a_file_of_weights_without_its_run_is_packed_if_it_fits_the_configs(small_run, packed, tmp_path, name):
    bundle = tmp_path / "ham10000"
    shutil.copytree(HAM10000, bundle, ignore=shutil.ignore_patterns("cache", "runs"))
    for config in ("train.yaml", "inference.yaml"):
        text = (bundle / "configs" / config).read_text()
        text = re.sub("(?m)^method: ctan", "method: hps", text)
        (bundle / "configs" / config).write_text(re.sub("(?m)^encoder: null", "encoder: resnet18", text))
    models = packed / "ham10000" / "models"
    shutil.copyfile(models / ("model.pt" if name == "model.pt" else "model.safetensors"), tmp_path / name)
    made = pack_bundle(bundle, tmp_path / name, tmp_path / "out")
    state = load_file(made.folder / "models" / "model.safetensors")
    assert all(torch.equal(state[key], tensor) for key, tensor in load_file(models / "model.safetensors").items())
    page = (made.folder / "docs" / "README.md").read_text()
    assert "Not known: the weights came without their run." in page
    assert "No metrics came with the weights." in page
