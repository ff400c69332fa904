"""The Model Zoo's own script, where there is a checkout of it: nothing of it is copied here, and CI has no network."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from pack_kit import ROOT

ZOO = os.environ.get("CTAN_MODEL_ZOO", "")


@pytest.mark.slow
@pytest.mark.skipif(not ZOO, reason="CTAN_MODEL_ZOO names no checkout of github Project-MONAI/model-zoo")
def test_the_zoo_s_script_and_uses_of_a_packed_bundle_pass(small_run, tmp_path):
    arguments = ["--bundles", "ham10000", "--run", f"ham10000={small_run}", "--out", str(tmp_path / "packed")]
    done = subprocess.run(
        [sys.executable, "benchmarks/zoo.py", "--zoo", str(Path(ZOO).resolve()), *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    assert "ham10000: min passes, full passes, outputs passes, inference passes, evaluation passes" in done.stdout
