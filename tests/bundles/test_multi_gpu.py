"""The overlay for several GPUs, in two processes on the CPU: the same training as in one."""

import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytestmark = [pytest.mark.dist, pytest.mark.slow]
BUNDLES = Path(__file__).parents[2] / "bundles"
TRAIN = [5, 8, 20, 21, 29, 31, 39, 40, 46, 47, 52, 53]  # two of each of six diagnoses
CHOICE = {"train": TRAIN, "validation": [11, 34, 16], "test": [25, 37]}


def start(bundle, processes, *options):
    """Run a bundle's training by torchrun; return exit code and what was printed."""
    configs = [str(BUNDLES / bundle / "configs" / name) for name in ("train.yaml", "multi_gpu_train.yaml")]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    command += ["-m", "monai.bundle", "run", "training", "--config_file", str(configs), *options]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    return done.returncode, done.stdout + done.stderr


def lesion_options(folder, output_dir, batch_size):
    names = {split: [f"SYN_{number:07d}" for number in numbers] for split, numbers in CHOICE.items()}
    (folder / "choice.json").write_text(json.dumps(names))
    places = ("--datalist", folder / "choice.json", "--cache_dir", folder / "cache", "--output_dir", output_dir)
    small = ("--encoder", "resnet18", "--image_size", "[64,64]", "--epochs", "1", "--batch_size", batch_size)
    return [str(argument) for argument in (*small, *places)]


def test_two_processes_do_what_one_does(tmp_path):
    """A step of twelve images in one process, or of six in each of two: losses, statistics, metrics agree."""
    found = {}
    for processes in (1, 2):
        folder = tmp_path / str(processes)
        code, printed = start("ham10000", processes, *lesion_options(tmp_path, folder, 12))
        assert code == 0, printed
        assert printed.count("Everything on one page") == 1
        assert "Grad strides" not in printed
        found[processes] = json.loads((folder / "metrics.json").read_text())["epochs"][0]
        assert (folder / "report.html").is_file()
    losses, metrics = ([found[number][part] for number in (1, 2)] for part in ("train", "validation"))
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    assert list(metrics[0]) == list(metrics[1])
    for name, value in metrics[0].items():
        assert metrics[1][name] == pytest.approx(value, rel=1e-3, abs=1e-3, nan_ok=True), name
    assert any(not math.isnan(value) for value in metrics[0].values())
    states = [torch.load(tmp_path / number / "model.pt", weights_only=True) for number in ("1", "2")]
    assert list(states[0]) == list(states[1])
    running = [name for name in states[0] if name.endswith(("running_mean", "running_var"))]
    assert len(running) > 40
    for name in running:
        torch.testing.assert_close(states[1][name], states[0][name], rtol=1e-4, atol=1e-5)


def test_a_batch_that_cannot_be_divided_is_refused_plainly(tmp_path):
    code, printed = start("ham10000", 2, *lesion_options(tmp_path, tmp_path / "run", 7))
    assert code != 0
    assert "ConfigError: --batch_size: 7 samples cannot be divided among 2 processes" in printed
    assert not re.search(r'File ".*ctan_monai', printed)
