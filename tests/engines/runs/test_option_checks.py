"""Slips on the command line of `monai.bundle run` are found before they cost a training."""

import json
import sys

import pytest
import yaml

from ctan_monai.engines.handlers.seeding_handler import seed_run
from ctan_monai.engines.runs.config_copies import given_configs, read_flags, read_given
from ctan_monai.engines.runs.option_checks import check_options
from ctan_monai.engines.runs.options import check_device
from ctan_monai.errors import ConfigError

CONFIG = {
    "output_dir": "runs", "cache_dir": "cache", "method": "ctan", "epochs": "$5 if @quick else 9", "batch_size": 4,
    "learning_rate": 0.001, "augment": 0.5, "patience": None, "seed": 0, "workers": 0, "device": "cpu", "amp": False,
    "data_on": "auto", "checkpoint_every": 0, "compile": False, "datalist": None, "folds": None, "fold": 0,
    "window": [0.0, 1.0], "gamma": 2.0, "spatial_dims": 2, "quick": True, "train": {"lr": "@learning_rate"},
    "run": ["$@epochs"],
}  # fmt: skip


@pytest.fixture
def given(tmp_path):
    """Return a function that gives the command line for the config, overlays and options."""
    (tmp_path / "train.yaml").write_text(yaml.safe_dump(CONFIG))

    def make(*options, **overlays):
        files = [str(tmp_path / "train.yaml")]
        for name, content in overlays.items():
            (tmp_path / f"{name}.json").write_text(json.dumps(content))
            files.append(str(tmp_path / f"{name}.json"))
        return ["run", "training", "--config_file", str(files), *map(str, options)]

    return make


@pytest.mark.parametrize(
    "options",
    [
        (), ("--epochs", 3), ("--batch-size=2",), ("--train#lr", 0.1), ("--patience", "None"), ("--gamma", 1),
        ("--mine", 2, "--batch_size", "$@mine"), ("--run_id", "training"), ("--tracking", "mlflow", "--run_name", "a"),
        ("--window", "[0,2]"), ("--amp", "True"), ("--device", "cpu"), ("--epochs", "$2 + 1"), ("--noamp",),
        ("--checkpoint_every", 0.5), ("--folds", 5, "--fold", 4), ("--datalist", "mine.json", "--folds", "None"),
        ("--folds", 5, "--datalist", "$@output_dir + '/datalist.json'"),
    ],
)  # fmt: skip
def test_what_makes_sense_passes(given, options):
    check_options(given(*options))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--epoch", 2), "Did you mean --epochs"),
        (("--batchsize=2",), "Did you mean --batch_size"),
        (("--qqqq", 2), "The entries are amp, augment, batch_size"),
        (("--folds", 5, "--datalist", "mine.json"), "folds: 5 folds and the splits of mine.json were given"),
        (("--epochs", 0), "epochs: 0 was found"),
        (("--epochs", -1), "epochs: -1 was found"),
        (("--epochs", 1.5), "epochs: 1.5 was found"),
        (("--epochs", "many"), "epochs: 'many' was found"),
        (("--epochs",), "epochs: True was found"),
        (("--batch_size", 0), "batch_size: 0"),
        (("--workers", -1), "workers: -1"),
        (("--seed", -1), "seed: -1"),
        (("--patience", 0), "patience: 0"),
        (("--checkpoint_every", -1), "checkpoint_every: -1 was found, expected a number of at least 0."),
        (("--checkpoint_every", "10m"), "checkpoint_every: '10m' was found"),
        (("--checkpoint_every", "nan"), "checkpoint_every: 'nan' was found"),
        (("--learning_rate", 0), "learning_rate: 0 is not positive"),
        (("--augment", 2), "augment: 2 is not between 0 and 1"),
        (("--gamma", "high"), "gamma: 'high' is no number"),
        (("--window", "[a,b]"), "window: 'a' is no number"),
        (("--amp", "maybe"), "amp: 'maybe' is neither"),
        (
            ("--compile", "fast"),
            "compile: 'fast' is no mode. Remedy: Use true, false, or one of default, reduce-overhead",
        ),
        (("--data_on", "gpu"), "data_on: 'gpu' is unknown. Remedy: Use one of ['auto', 'device', 'loader']"),
        (("--spatial_dims", "4"), "spatial_dims: 4 is unknown. Remedy: Use one of [2, 3]"),
        (("--device", "tpu"), "--device: 'tpu' cannot be used here"),
        (("--device", "meta"), "--device: 'meta' cannot be used here"),
        (("--device", "mps"), "with arguments from the 'MPS' backend). Remedy: Use cpu"),
        (("--output_dir=~/run",), "Write --output_dir ~/run, with a blank"),
        (("--patience", "null"), "'null' is a text on a command line. Remedy: Write --patience None"),
        (("--method=~/mine",), "Write --method ~/mine, with a blank"),
        (("--output_dir", "$run"), "the path '$run' begins with $, which MONAI evaluates as Python"),
        (("--learning_rate", "nan"), "learning_rate: 'nan' is no number; the config has 0.001. Remedy: Give a number."),
        (("--learning_rate", "1e999"), "learning_rate: inf is no number"),
        (("--window", "[0,1e999]"), "window: inf is no number"),
    ],
)
def test_a_slip_is_named_with_its_remedy(given, options, said):
    with pytest.raises(ConfigError) as caught:
        check_options(given(*options))
    assert said in str(caught.value)


@pytest.mark.parametrize("name", ["$cases.csv", "@cases.csv", "@output_dir"])
def test_a_path_that_monai_would_evaluate_is_named(given, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).touch()
    with pytest.raises(ConfigError, match=rf"--cache_dir: the path '\{name[0]}.*Write \./\{name}, or the whole path"):
        check_options(given("--cache_dir", name))
    check_options(given("--cache_dir", f"./{name}"))
    (tmp_path / name).unlink()
    check_options(given("--cache_dir", "@output_dir"))


@pytest.mark.parametrize(
    ("overlay", "said"),
    [
        ({"epochs": "2"}, "Leave the quotes out: epochs: 2."),
        ({"batch_size": "8"}, "Leave the quotes out: batch_size: 8."),
        ({"gamma": "1.5"}, "gamma: '1.5' is no number; the config has 2.0. Remedy: Leave the quotes out."),
        ({"window": ["0", "1"]}, "window: '0' is no number"),
        ({"epoch": 2}, "Did you mean epochs?"),
    ],
)
def test_a_slip_in_an_overlay_is_named(given, overlay, said):
    with pytest.raises(ConfigError) as caught:
        check_options(given(mine=overlay))
    assert said in str(caught.value)


def test_an_overlay_may_add_what_it_uses(given):
    check_options(given(mine={"epochs_of_warmup": 2, "run": ["$@epochs_of_warmup"]}))


def test_what_a_component_of_an_overlay_computes_is_left_to_it(given):
    check_options(
        given(mine={"device": {"_target_": "torch.device", "type": "cpu"}, "batch_size": {"_target_": "max"}})
    )


def test_a_slip_in_an_args_file_is_named_and_a_flag_wins_over_it(given, tmp_path):
    (tmp_path / "args.yaml").write_text(yaml.safe_dump({"config_file": [str(tmp_path / "train.yaml")], "epochs": "3"}))
    given()
    with pytest.raises(ConfigError, match="Leave the quotes out"):
        check_options(["run", "--args_file", str(tmp_path / "args.yaml")])
    check_options(["run", f"--args_file={tmp_path / 'args.yaml'}", "--epochs", "3"])


def test_another_program_is_left_alone(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["pytest", "--epoch", "2", *[__file__] * 9])
    check_options()
    assert given_configs(sys.argv[1:]) == []


@pytest.mark.parametrize("kind", ["json", "yaml"])
@pytest.mark.parametrize("files", ["a.yaml", ["a.yaml", "b.json"]])
def test_config_files_of_an_args_file_are_known(tmp_path, kind, files):
    args = tmp_path / f"args.{kind}"
    content = {"config_file": files, "epochs": 3}
    args.write_text(json.dumps(content) if kind == "json" else yaml.safe_dump(content))
    for spelling in (["--args_file", str(args)], [f"--args-file={args}"]):
        found = [str(path) for path in given_configs(["run", "training", *spelling])]
        assert found == ([files] if isinstance(files, str) else files)
    assert [str(path) for path in given_configs(["run", "--args_file", str(args), "--config_file", "c.yaml"])] == [
        "c.yaml"
    ]
    assert read_given(["run", "training", "--args_file", str(args)])["run_id"] == "training"


def test_flags_are_divided_as_fire_divides_them():
    from fire import Fire

    def receive(*unnamed, amp=None, **named):
        return list(unnamed), {**({} if amp is None else {"amp": amp}), **named}

    line = ["run", "--epochs", "-1", "--a#b=[1, x]", "--flag", "-c", "d.yaml", "--noamp", "--batch-size", "2", "--last"]
    assert read_flags(line) == Fire(receive, command=line, serialize=lambda _: None)


def test_a_device_that_computes_is_returned_and_one_that_is_absent_is_refused_by_name():
    assert check_device("cpu").type == "cpu"
    for name in ("tpu", "cuda:97", "CPU", "", None, "mps:9"):
        with pytest.raises(ConfigError, match=r"--device: .*Remedy: Use cpu"):
            check_device(name)


@pytest.mark.parametrize("seed", [-1, 1.5, "abc", "3"])
def test_a_seed_is_a_whole_number(seed):
    with pytest.raises(ConfigError, match="seed: "):
        seed_run(seed)
