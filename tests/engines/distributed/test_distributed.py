import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import two_processes
from engine_kit import assert_same_weights

pytestmark = pytest.mark.dist


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What two processes that work together leave behind."""
    folder = tmp_path_factory.mktemp("two")
    script = Path(two_processes.__file__)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    running = [
        subprocess.Popen([sys.executable, str(script), str(rank), str(folder)], env=environment) for rank in range(2)
    ]
    try:
        assert [process.wait(timeout=60) for process in running] == [0, 0]
    finally:
        for process in running:
            process.kill()
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


def test_both_processes_have_the_same_weights_also_those_that_the_loss_learns(found):
    assert_same_weights(found[0]["weights"], found[1]["weights"], rtol=0, atol=0)
    assert any(name.startswith("weighting.log_variance") for name in found[0]["weights"])


def test_two_processes_train_like_one_with_the_whole_batch(found):
    together = [case for pair in zip(*two_processes.TRAINING, strict=True) for case in pair]
    alone = two_processes.train(together, 2, lambda network: network)
    assert_same_weights(found[0]["weights"], alone, rtol=1e-4, atol=1e-6)


def test_metrics_are_the_same_everywhere_and_those_of_one_process_that_saw_every_case_once(found):
    alone, rows = two_processes.validate([10, 11, 12, 13], lambda network: network, 0.25)
    for process in found:
        assert [row["case"] for row in process["rows"]] == [row["case"] for row in rows]
        assert list(process["metrics"]) == list(alone)
        for name, value in alone.items():
            assert process["metrics"][name] == pytest.approx(value, rel=1e-5, nan_ok=True), name
    assert not math.isnan(alone["selection"])


@pytest.mark.promise(3, "a NaN in an image of one of two processes stops both")
def test_a_damaged_image_in_one_process_stops_both(found):
    assert "image of pt_2" in found[1]["error"]
    assert "cases pt_0: images and labels are finite" in found[0]["error"]
