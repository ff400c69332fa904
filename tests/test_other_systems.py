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


@pytest.mark.slow
def test_the_tests_for_a_gpu_need_only_what_training_needs(repository):
    """A machine that is lent with a GPU has torch, and what the kit brings (benchmarks/gpu): no package of these."""
    absent = ["SimpleITK", "itk", "highdicom", "nvflare", "mlflow", "onnx", "onnxruntime", "pymedphys", "torchjd"]
    program = (
        f"import sys; sys.modules.update(dict.fromkeys({absent})); import pytest; sys.exit(pytest.main(sys.argv[1:]))"
    )
    options = ["-q", "-p", "no:cacheprovider", "-k", "not every_weighting", "-x"]
    for selected in (["-m", "gpu", "--collect-only"], ["-m", "not gpu", "tests/gpu/test_gpu_training.py"]):
        command = [sys.executable, "-c", program, *options, *selected]
        done = subprocess.run(command, cwd=repository, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-2000:]
        assert "test_gpu_networks" in done.stdout or "passed" in done.stdout
