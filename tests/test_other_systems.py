"""What macOS and Windows lack is not needed: processes are spawned there, and fcntl is missing."""

import json
import subprocess
import sys

import pytest


def act(repository, *arguments, cwd):
    program = repository / "tests" / "helpers" / "other_system.py"
    command = [sys.executable, str(program), *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True)


@pytest.mark.slow
def test_every_module_is_imported_without_them(repository, tmp_path):
    done = act(repository, "imports", cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.slow
def test_a_training_with_two_spawned_workers_ends_well(repository, tmp_path):
    bundle = repository / "bundles" / "ham10000"
    options = {"method": "hps", "encoder": "resnet18", "epochs": 1, "image_size": "[32,64]", "workers": 2}
    places = {"bundle_root": bundle, "cache_dir": tmp_path / "cache", "output_dir": tmp_path / "run"}
    given = [part for key, value in {**options, **places}.items() for part in (f"--{key}", value)]
    config = ("--config_file", bundle / "configs" / "train.yaml")
    done = act(repository, "monai.bundle", "run", "training", *config, *given, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    assert len(json.loads((tmp_path / "run" / "metrics.json").read_text())["epochs"]) == 1
