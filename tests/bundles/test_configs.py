"""The form that the configs of all bundles share, and that runs of configs of before go on."""

import json
from pathlib import Path

import pytest
import yaml
from bundle_kit import command
from monai.bundle import ConfigWorkflow

from ctan_monai.engines.runs.torch_file import load_checked

ROOT = Path(__file__).parents[2]
BUNDLES = sorted(path.parent.parent for path in ROOT.glob("bundles/*/configs/train.yaml"))
OLD = ROOT / "tests" / "golden" / "configs"
ENTRIES = [
    "bundle_root", "dataset_dir", "output_dir", "cache_dir", "tracking_uri", "save_execute_config", "method",
    "encoder", "pretrained", "init_from", "weighting", "epochs", "batch_size", "learning_rate", "augment",
    "accumulate", "val_interval", "patience", "seed", "deterministic", "amp", "resume", "checkpoint_every", "workers",
    "data_on", "compile", "device", "tasks", "image_channels", "image_format", "network_def", "network", "datalists",
    "loss", "optimizer", "lr_scheduler", "train", "validate", "initialize", "training", "run",
]  # fmt: skip
FEW = {"train": [2, 3, 4, 5], "validation": [6, 7], "test": [8, 9]}


@pytest.mark.parametrize("bundle", BUNDLES, ids=lambda path: path.name)
def test_a_training_config_is_short_and_has_its_entries_in_the_same_order_as_the_others(bundle):
    text = (bundle / "configs" / "train.yaml").read_text()
    assert len(text.splitlines()) <= 140
    assert max(map(len, text.splitlines())) <= 110
    config = yaml.safe_load(text)
    assert [name for name in config if name in ENTRIES] == ENTRIES
    assert list(config["validate"])[-2:] == ["handlers", "evaluator"]
    assert {"preprocessing", "dataset", "dataloader", "inferer", "key_metric"} <= set(config["validate"])
    assert {"preprocessing", "dataset", "dataloader", "inferer", "handlers", "trainer"} <= set(config["train"])


def test_every_bundle_whose_program_divides_the_data_can_keep_an_earlier_runs_splits():
    """OpenKBP has official splits, and a prepared folder of DICOM remembers its own."""
    template = ROOT / "ctan_monai" / "apps" / "templates" / "train.yaml"
    others = [each / "configs" / "train.yaml" for each in BUNDLES if each.name not in ("openkbp", "prostate")]
    for path in (*others, template):
        text = path.read_text()
        assert "\nadd_data: null " in text, path
        assert "add_data: '@add_data'" in text, path


def test_all_bundles_and_new_ones_log_alike():
    """MONAI looks for logging.conf beside the first config only, so each bundle needs its own."""
    templates = ROOT / "ctan_monai" / "apps" / "templates"
    paths = [bundle / "configs" / "logging.conf" for bundle in BUNDLES] + [templates / "logging.conf"]
    assert len({path.read_text() for path in paths}) == 1


@pytest.mark.parametrize("within", ["../..", ".", "configs"])
@pytest.mark.parametrize("bundle", BUNDLES, ids=lambda path: path.name)
def test_a_bundle_is_found_from_the_root_and_from_its_own_folder(workflow, monkeypatch, bundle, within):
    monkeypatch.chdir(bundle / within)
    finder = {"_target_": "ctan_monai.data.find_bundle_root", "name": bundle.name}  # as the config has it
    found = workflow(bundle.name, "train.yaml", bundle_root=finder)
    assert Path(found.parser.get_parsed_content("bundle_root")).samefile(bundle)


@pytest.mark.parametrize(("name", "missing"), [("openkbp", "train-pats"), ("prostate", "nothing")])
def test_with_bundle_root_the_command_works_from_anywhere_and_names_what_is_wrong(tmp_path, name, missing):
    bundle = ROOT / "bundles" / name
    options = ["--bundle_root", str(bundle), "--dataset_dir", str(tmp_path / "nothing"), "--output_dir", "out"]
    ended = command("training", "--config_file", str(bundle / "configs" / "train.yaml"), *options, cwd=tmp_path)
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    assert "DataError" in ended.stderr
    assert missing in ended.stderr


def start(*files, run_id, **options):
    made = ConfigWorkflow([str(path) for path in files], logging_file=False, run_id=run_id, **options)
    made.initialize()
    made.run()


@pytest.mark.slow
def test_a_run_of_a_config_of_before_is_resumed_and_evaluated_by_those_of_today(tmp_path):
    configs = ROOT / "bundles" / "ham10000" / "configs"
    names = {split: [f"SYN_{number:07}" for number in numbers] for split, numbers in FEW.items()}
    (tmp_path / "few.json").write_text(json.dumps(names))
    run = tmp_path / "run"
    options = {"method": "hps", "encoder": "resnet18", "image_size": [48, 64], "batch_size": 2, "amp": False}
    options |= {"datalist": str(tmp_path / "few.json"), "cache_dir": str(tmp_path / "cache"), "output_dir": str(run)}
    options |= {"bundle_root": str(configs.parent)}
    start(OLD / "ham10000_train.yaml", run_id="training", epochs=1, **options)
    before = json.loads((run / "settings.json").read_text())
    start(configs / "train.yaml", run_id="training", epochs=2, resume=True, **options)
    assert load_checked(run / "last.pt")["epoch"] == 2
    later = {"folds": None, "fold": 0, "init_from": None, "add_data": None}  # options that came after
    assert {**before, **later, "epochs": 2} == json.loads((run / "settings.json").read_text())
    assert "Resuming with another setting" not in (run / "log.txt").read_text()
    chosen = {name: options[name] for name in ("method", "encoder", "cache_dir", "output_dir", "bundle_root")}
    values = []
    for folder, prefix in ((configs, ""), (OLD, "ham10000_")):
        files = [folder / f"{prefix}{name}.yaml" for name in ("train", "evaluate")]
        start(*files, run_id="evaluating", **chosen)
        values.append(json.loads((run / "evaluation" / "summary.json").read_text())["metrics"])
    assert values[0] == pytest.approx(values[1], nan_ok=True)
    assert values[0]["lesion_dice"] >= 0
