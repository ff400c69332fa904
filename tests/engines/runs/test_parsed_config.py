"""What concerns a config as a whole: its options without a list of them, and entries that stand elsewhere now."""

import json
from pathlib import Path

import pytest
from monai.bundle import ConfigParser, ConfigWorkflow

from ctan_monai.apps.comparing.bundle import Bundle
from ctan_monai.engines.runs.parsed_config import building_parser, check_moved_ids, option_names, options_of
from ctan_monai.errors import ConfigError, find_ctan_error

BUNDLES = Path(__file__).parents[3] / "bundles"
OLD = Path(__file__).parents[2] / "golden" / "configs" / "ham10000_train.yaml"
CONFIG = {
    "bundle_root": ".", "output_dir": "runs/a", "method": "hps", "epochs": "$5 if @quick else 9", "quick": True,
    "sizes": [32, "$@epochs"], "workers": 0, "tasks": [], "later": 1, "loss": {"a": 1},
    "initialize": [{"_target_": "ctan_monai.engines.RunFolder", "output_dir": "@output_dir"}], "run": ["$1"],
}  # fmt: skip


def test_a_runs_settings_are_the_options_above_the_tasks(tmp_path):
    (tmp_path / "train.json").write_text(json.dumps(CONFIG))
    given = {"output_dir": str(tmp_path / "run"), "quick": False}
    made = ConfigWorkflow(str(tmp_path / "train.json"), logging_file=False, workflow_type=None, **given)
    made.initialize()
    found = json.loads((tmp_path / "run" / "settings.json").read_text())
    assert found == {"method": "hps", "epochs": 9, "quick": False, "sizes": [32, 9]}


def test_a_program_without_a_config_has_no_parser():
    assert building_parser() is None


@pytest.mark.parametrize("bundle", ["openkbp", "prostate", "ham10000", "stoic", "busi", "mr_ct"])
def test_every_bundle_keeps_what_it_was_trained_with(bundle):
    config = ConfigParser.load_config_file(str(BUNDLES / bundle / "configs" / "train.yaml"))
    names = option_names(config)
    assert {"dataset_dir", "method", "encoder", "epochs", "seed", "amp"} <= set(names)
    assert not {"output_dir", "cache_dir", "workers", "device", "network_def"} & set(names)


def test_a_config_of_before_lists_its_options_itself():
    before = ConfigParser.load_config_file(str(OLD))
    now = ConfigParser.load_config_file(str(BUNDLES / "ham10000" / "configs" / "train.yaml"))
    assert option_names(before) == list(before["settings"])
    assert set(option_names(now)) - {"folds", "fold", "init_from", "add_data"} == set(
        before["settings"]
    )  # which came later


def test_options_are_the_values_with_what_is_given(tmp_path):
    parser = ConfigParser(CONFIG)
    parser.update({"epochs": 2, "method": "ctan"})
    assert options_of(parser) == {"method": "ctan", "epochs": 2, "quick": True, "sizes": [32, 2]}


@pytest.mark.parametrize(
    ("given", "old", "new"),
    [
        ({"train#optimizer": {"lr": 0.1}}, "train#optimizer", "optimizer"),
        ({"train::lr_scheduler": None}, "train#lr_scheduler", "lr_scheduler"),
        ({"train#loss_function": {"_target_": "torch.nn.L1Loss"}}, "train#loss_function", "loss"),
        ({"validate#handlers": ["@validate#metrics"]}, "validate#metrics", "validate#key_metric"),
        ({"mine": "$@train#optimizer.param_groups"}, "train#optimizer", "optimizer"),
    ],
)
def test_an_entry_that_moved_is_refused_with_its_new_name(tmp_path, given, old, new):
    config = str(BUNDLES / "ham10000" / "configs" / "train.yaml")
    options = {"bundle_root": str(BUNDLES / "ham10000"), "output_dir": str(tmp_path / "run"), "encoder": "resnet18"}
    made = ConfigWorkflow(config, logging_file=False, **options, **given)
    with pytest.raises(RuntimeError) as caught:
        made.initialize()
    error = find_ctan_error(caught.value)
    assert isinstance(error, ConfigError)
    assert f"{old}: this entry of the bundle's train.yaml is {new} now" in str(error)
    assert f"Write {new} for {old}" in str(error)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("given", ["train#optimizer#lr", "train::loss_function::weighting", "validate#metrics#metrics"])
def test_what_lies_deeper_is_refused_by_monai_itself_and_by_our_commands_with_the_new_name(given):
    parser = ConfigParser()
    parser.read_config(str(BUNDLES / "ham10000" / "configs" / "train.yaml"))
    with pytest.raises(KeyError, match="query key"):  # before anything of this package is asked
        parser.update({given: 1})
    with pytest.raises(ConfigError, match="now, and nothing uses what is given"):
        Bundle(str(BUNDLES / "ham10000"), [f"--{given}", "1"])


def test_a_config_of_before_is_read_as_it_is():
    parser = ConfigParser()
    parser.read_config(str(OLD))
    parser.update({"train#optimizer#lr": 0.1})
    check_moved_ids(parser)
    assert parser.get("train#optimizer")["lr"] == 0.1
