"""A weighting that joins gradients, in a bundle as a user runs it: one option is all it takes."""

import json
import logging
import math

import pytest
from amp_kit import AMP

from ctan_monai.engines.runs.torch_file import load_checked

SMALL = {"encoder": "resnet18", "image_size": [64, 64], "batch_size": 16, "epochs": 1, "seed": 5, "accumulate": 2}


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """A cache for all tests of this file: the synthetic images are drawn once."""
    return str(tmp_path_factory.mktemp("images"))


@pytest.mark.slow
def test_a_bundle_trains_with_projected_gradients(run, tmp_path, cache):
    options = {**SMALL, "method": "ctan", "weighting": "pcgrad", "amp": AMP, "known_masks": 0.7}
    options |= {"cache_dir": cache, "output_dir": str(tmp_path / "run")}
    run("ham10000", "train.yaml", run_id="training", **options)
    (epoch,) = json.loads((tmp_path / "run" / "metrics.json").read_text())["epochs"]
    assert epoch["weights"] == {"lesion": 1.0, "diagnosis": 1.0}
    assert all(math.isfinite(loss) for loss in epoch["train"].values())
    state = load_checked(tmp_path / "run" / "last.pt")["states"]["loss"]["weighting._extra_state"]
    assert state["seed"] == SMALL["seed"]  # the run's
    assert state["step"] > 1


def test_single_task_networks_get_equal_weighting_and_the_log_says_so(workflow, tmp_path, cache, caplog):
    options = {**SMALL, "method": "stl", "weighting": "pcgrad", "cache_dir": cache, "output_dir": str(tmp_path / "run")}
    made = workflow("ham10000", "train.yaml", **options)
    with caplog.at_level(logging.INFO):
        made.initialize()
        made.parser.get_parsed_content("train#trainer")
    assert "equal weighting takes the place of 'pcgrad'" in caplog.text
