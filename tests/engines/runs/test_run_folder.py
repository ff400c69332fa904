"""The folder of a run: made, moved aside, continued, never overwritten."""

import getpass
import json
import logging
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
from monai.bundle import ConfigWorkflow
from run_kit import Run, TinyNetwork, TinySeparate

from ctan_monai.engines.handlers.loss_logging_handler import ScalarWriter
from ctan_monai.engines.runs.config_copies import copy_configs, given_configs
from ctan_monai.engines.runs.run_folder import RunFolder
from ctan_monai.engines.runs.torch_file import load_checked
from ctan_monai.errors import CheckpointError, ConfigError, DataError

SETTINGS = {"method": "tiny", "epochs": 2, "seed": 0, "device": "cpu"}


@pytest.fixture(autouse=True)
def _info(caplog):
    caplog.set_level(logging.INFO)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def read(path):
    return json.loads(path.read_text())


@pytest.fixture
def folder(tmp_path):
    """Where a run has been made ready, trained and ended."""
    path = tmp_path / "run"
    RunFolder(path, SETTINGS, TinyNetwork())
    Run(path, epochs=2).go()
    return path


def test_a_new_folder_says_what_is_run(tmp_path):
    config = tmp_path / "train.yaml"
    config.write_text("epochs: 2\n")
    made = RunFolder(tmp_path / "a" / "run", SETTINGS, TinyNetwork(), [config])
    assert not made.resumed
    found = [name for name in names(made.path) if name != ".lock"]  # which Windows has not
    assert found == ["configs", "log.txt", "run.json", "settings.json", "versions.json"]
    assert read(made.path / "settings.json") == SETTINGS
    assert read(made.path / "run.json")["method"] == "tiny"
    assert (made.path / "configs" / "train.yaml").read_text() == "epochs: 2\n"


@pytest.mark.promise(6, "a run's folder names neither the machine nor the home of its user")
def test_nothing_in_it_names_the_machine_or_its_user(tmp_path, monkeypatch):
    home = tmp_path / "anna.miller"
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setattr("socket.gethostname", lambda: "annas-laptop")
    settings = {
        "dataset_dir": str(home / "data"),
        "tracking_uri": f"sqlite:///{home}/mlflow.db",
        "cache_dir": f"{home}s",
    }
    RunFolder(tmp_path / "run", settings, TinyNetwork())
    logging.getLogger("ctan_monai").warning("read from %s", home / "data")
    writer = ScalarWriter(tmp_path / "run" / "tensorboard")
    writer.write({"loss": 1.0}, 1)
    writer.close()
    found = read(tmp_path / "run" / "settings.json")
    assert found == {"dataset_dir": "~/data", "tracking_uri": "sqlite:///~/mlflow.db", "cache_dir": f"{home}s"}
    files = [path for path in (tmp_path / "run").rglob("*") if path.is_file() and path.name != "settings.json"]
    assert {"log.txt", "versions.json"} < {path.name for path in files}
    assert len(files) >= 4
    for path in files:
        assert b"anna" not in path.read_bytes() + path.name.encode(), path
    assert "read from ~/data" in (tmp_path / "run" / "log.txt").read_text()
    versions = (tmp_path / "run" / "versions.json").read_text()
    assert platform.node() not in versions
    assert getpass.getuser() not in versions
    assert str(tmp_path) not in versions
    assert read(tmp_path / "run" / "versions.json")["python"] == platform.python_version()


@pytest.mark.promise(1, "a fresh run never writes over an old one")
def test_a_fresh_run_moves_the_old_one_aside_each_time(folder, caplog):
    before = {name: (folder / name).read_bytes() for name in ("last.pt", "model.pt", "metrics.json")}
    again = RunFolder(folder, SETTINGS, TinyNetwork(), resume="false")
    assert again.moved_aside == folder.with_name("run.1")
    assert {name: (folder.with_name("run.1") / name).read_bytes() for name in before} == before
    assert not (folder / "last.pt").exists()
    assert "was used by an earlier run, which is now" in caplog.text
    assert RunFolder(folder, SETTINGS).moved_aside == folder.with_name("run.2")
    assert names(folder.parent) == ["run", "run.1", "run.2"]


def test_the_splits_that_a_run_adds_to_are_still_there_when_it_takes_that_runs_folder(folder):
    (folder / "datalist.json").write_text('{"train": ["a"]}')
    assert RunFolder(folder, {**SETTINGS, "add_data": str(folder)}).moved_aside is not None
    assert json.loads((folder / "datalist.json").read_text()) == {"train": ["a"]}
    assert RunFolder(folder, SETTINGS).moved_aside is not None
    assert not (folder / "datalist.json").exists()


def test_resuming_keeps_the_folder(folder):
    (folder / ".last.pt.part-0123abcd.pt").write_bytes(b"half of a checkpoint")
    before = (folder / "last.pt").read_bytes()
    again = RunFolder(folder, SETTINGS, TinyNetwork(), resume="True")
    assert again.resumed
    assert again.moved_aside is None
    assert (folder / "last.pt").read_bytes() == before
    assert not (folder / ".last.pt.part-0123abcd.pt").exists()
    assert names(folder.parent) == ["run"]


def test_resuming_another_network_is_refused_before_anything_is_changed(folder):
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(CheckpointError, match=r"run\.json: .*method: saved 'tiny', now 'tiny_stl'"):
        RunFolder(folder, {**SETTINGS, "method": "tiny_stl"}, TinySeparate(), resume=True)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_resuming_with_another_setting_warns_but_more_epochs_do_not(folder, caplog):
    RunFolder(folder, {**SETTINGS, "seed": 1, "epochs": 4}, TinyNetwork(), resume=True)
    assert "Resuming with another setting: seed: saved 0, now 1." in caplog.text
    assert "epochs: saved" not in caplog.text


def test_resuming_nothing_starts_afresh_but_never_over_a_trained_network(folder):
    assert not RunFolder(folder.with_name("new"), SETTINGS, resume=True).resumed
    for name in ("last.pt", "last.prev.pt"):
        (folder / name).unlink()
    again = RunFolder(folder, SETTINGS, TinyNetwork(), resume=True)
    assert not again.resumed
    assert (folder.with_name("run.1") / "model.pt").exists()


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("...")
    with pytest.raises(ConfigError, match=r"is not the folder of a run; it holds thesis\.tex"):
        RunFolder(tmp_path, SETTINGS)
    assert names(tmp_path) == ["thesis.tex"]


def test_the_present_folder_cannot_be_moved(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="--output_dir"):
        RunFolder(".", SETTINGS)


def test_a_folder_that_cannot_be_moved_is_left_as_it_is(folder, monkeypatch):
    def refuse(*arguments):
        raise OSError(16, "Device or resource busy")

    monkeypatch.setattr(os, "rename", refuse)
    with pytest.raises(ConfigError, match=r"cannot be moved to .*run\.1 \(Device or resource busy\).*--resume True"):
        RunFolder(folder, SETTINGS)
    assert (folder / "last.pt").exists()


def test_an_empty_folder_is_used_as_it_is(tmp_path):
    assert RunFolder(tmp_path, SETTINGS).moved_aside is None


def test_a_numeric_name_arrives_as_a_number(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    RunFolder(7, SETTINGS)
    assert (tmp_path / "7" / "settings.json").exists()


@pytest.mark.promise(1, "two trainings cannot use one folder")
def test_two_trainings_cannot_use_one_folder(folder):
    pytest.importorskip("fcntl")
    code = "import fcntl, sys; f = open(sys.argv[1], 'a'); fcntl.lockf(f, fcntl.LOCK_EX); print(flush=True); input()"
    other = folder.with_name("other")
    RunFolder(other, SETTINGS)
    from ctan_monai.files import lock as run_lock

    run_lock.release(other)
    with subprocess.Popen(
        [sys.executable, "-c", code, other / ".lock"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        process.stdout.readline()
        for resume in (False, True):
            with pytest.raises(ConfigError, match=r"another training is running in .*other"):
                RunFolder(other, SETTINGS, resume=resume)
        process.communicate(b"\n")
    assert RunFolder(other, SETTINGS).moved_aside == folder.with_name("other.1")


def test_the_log_is_kept_in_the_folder_of_the_present_run(tmp_path):
    logger = logging.getLogger("ctan_monai.test")
    RunFolder(tmp_path / "first", SETTINGS)
    logger.warning("during the first")
    RunFolder(tmp_path / "second", SETTINGS)
    logger.warning("during the second")
    first, second = ((tmp_path / name / "log.txt").read_text() for name in ("first", "second"))
    assert "WARNING ctan_monai.test: during the first" in first
    assert "during the second" not in first
    assert "during the second" in second
    assert "New run in" in second


def test_config_files_of_the_command_line_are_found(tmp_path, monkeypatch):
    for name in ("train.yaml", "other.yaml"):
        (tmp_path / name).write_text(name)
    files = [str(tmp_path / name) for name in ("train.yaml", "other.yaml")]
    monkeypatch.setattr(sys, "argv", ["monai.bundle", "run", "training", "--config_file", str(files), "--epochs", "2"])
    RunFolder(tmp_path / "run", SETTINGS)
    assert names(tmp_path / "run" / "configs") == ["other.yaml", "train.yaml"]


@pytest.mark.parametrize(
    ("arguments", "files"),
    [
        (["run", "--config_file", "a.yaml"], ["a.yaml"]),
        (["run", "--config-file=a b.yaml"], ["a b.yaml"]),
        (["run", "--config_file", "['a.yaml', 'b.yaml']"], ["a.yaml", "b.yaml"]),
        (["run", "--config_file"], []),
        (["run", "--epochs", "3"], []),
    ],
)
def test_config_files_in_every_spelling(arguments, files):
    assert given_configs(arguments) == [Path(file) for file in files]


def test_two_config_files_of_one_name_are_both_kept_and_a_missing_one_is_named(tmp_path):
    files = [tmp_path / "a" / "train.yaml", tmp_path / "b" / "train.yaml"]
    for file in files:
        file.parent.mkdir()
        file.write_text(file.parent.name)
    RunFolder(tmp_path / "run", SETTINGS, config_files=files)
    assert (tmp_path / "run" / "configs" / "1_train.yaml").read_text() == "b"
    with pytest.raises(DataError, match="no such config file"):
        RunFolder(tmp_path / "new", SETTINGS, config_files=[tmp_path / "gone.yaml"])


CONFIG = """
output_dir: runs/a
epochs: 2
resume: false
settings: {epochs: '@epochs', output_dir: '@output_dir', resume: '@resume'}
network: {_target_: run_kit.TinyNetwork}
parts: {_target_: run_kit.Run, folder: '@output_dir', epochs: '@epochs', schedule: step}
initialize:
- {_target_: ctan_monai.engines.seed_run, seed: 0}
- {_target_: ctan_monai.engines.RunFolder, output_dir: '@output_dir', settings: '@settings', network: '@network',
  resume: '@resume'}
training:
- _target_: ctan_monai.engines.Checkpoint
  output_dir: '@output_dir'
  trainer: '$@parts.trainer'
  states: {scheduler: '$@parts.scheduler', best: '$@parts.best', history: '$@parts.history',
    early_stopping: '$@parts.early_stopping'}
  resume: '@resume'
  data: '$@parts.data'
- $@parts.trainer.run()
"""


def test_a_config_wires_it_and_the_command_line_steers_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.yaml").write_text(CONFIG)

    def run(**options):
        workflow = ConfigWorkflow("train.yaml", logging_file=False, workflow_type=None, run_id="training", **options)
        workflow.initialize()
        workflow.run()

    run()
    run(resume=True, epochs=3)
    assert load_checked("runs/a/last.pt")["epoch"] == 3
    assert len(read(Path("runs/a/metrics.json"))["epochs"]) == 3
    assert read(Path("runs/a/settings.json")) == {"epochs": 3, "output_dir": "runs/a", "resume": True}
    run(resume="false")
    assert load_checked("runs/a/last.pt")["epoch"] == 2
    assert load_checked("runs/a.1/last.pt")["epoch"] == 3
    assert os.listdir("runs/a.1").count("model.pt") == 1


def test_a_run_is_continued_by_its_own_copies_of_the_configs(tmp_path):
    given = tmp_path / "train.yaml"
    given.write_text("epochs: 3\n")
    copy_configs([given], tmp_path / "configs")
    own = tmp_path / "configs" / "train.yaml"
    copy_configs([own], tmp_path / "configs")
    assert own.read_text() == "epochs: 3\n"
