"""What the tests of every bundle do: start a workflow, run a command as a user does, look through a run's folder."""

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from ctan_monai.errors import find_ctan_error

EACH_RUN_ID = pytest.mark.parametrize("run_id", ["training", "run"])


def each_refused_option(bundle):
    """Parametrize a test with ``wrong`` options of a bundle and the ``message`` that each has to end in."""
    listed = yaml.safe_load(Path(__file__).with_name("refused_options.yaml").read_text(encoding="utf-8"))
    return pytest.mark.parametrize(("wrong", "message"), listed[bundle])


def has_all_properties(made):
    """See that a workflow has what MONAI asks of a training config."""
    made.initialize()
    assert made.check_properties() == []


def rows_of(path):
    """Return the rows of a CSV file."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def start(made):
    """Run a workflow from its beginning."""
    made.initialize()
    made.run()


def refused(made, message, *kinds):
    """See that a workflow ends with an error of one of these kinds, which MONAI may wrap, that says so."""
    with pytest.raises((*kinds, RuntimeError)) as caught:
        start(made)
    found = find_ctan_error(caught.value)
    assert isinstance(found, kinds)
    assert re.search(message, str(found))


def command(*arguments, cwd):
    """Run `python -m monai.bundle run`, as a user does."""
    return subprocess.run(
        [sys.executable, "-m", "monai.bundle", "run", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def refused_without_run(bundle, cwd):
    """See that inference without a trained run ends in one sentence that says to train first."""
    config = bundle / "configs" / "inference.yaml"
    arguments = ("--config_file", str(config), "--bundle_root", str(bundle), "--run_dir", "none")
    ended = command("inferring", *arguments, cwd=cwd)
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    assert "CheckpointError: none/run.json: there is no trained network" in ended.stderr
    assert "Train first" in ended.stderr


def check_run(folder, method, tasks, metrics, images, independent=None):
    """See that the folder of a run of one epoch is complete.

    Args:
        folder: of the run.
        method: that was trained.
        tasks: names.
        metrics: some that validation must have measured.
        images: files in the folder that must be PNG.
        independent: whether each task has a best network of its own; None: as stl has.
    """
    history = json.loads((folder / "metrics.json").read_text())
    assert len(history["epochs"]) == 1
    trained = {name for name in history["epochs"][0]["train"] if not name.startswith("penalty_")}
    assert trained == {*tasks, "loss"}
    assert {*metrics, "selection"} <= set(history["epochs"][0]["validation"])
    independent = method == "stl" if independent is None else independent
    assert set(history["best"]) == (set(tasks) if independent else {"all"})
    assert json.loads((folder / "run.json").read_text())["method"] == method
    for name in ("last.pt", "model.pt", "settings.json", "versions.json", "log.txt", "report.html"):
        assert (folder / name).stat().st_size > 0
    for name in ("images/curves.png", *images):
        assert (folder / name).read_bytes().startswith(b"\x89PNG")
    assert (folder / "configs" / "train.yaml").is_file() or not any((folder / "configs").iterdir())
