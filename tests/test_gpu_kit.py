"""The kit for a machine with a GPU and no network (benchmarks/gpu), in its smallest form on the CPU."""

import json
import subprocess
import sys
import tarfile

import pytest


@pytest.mark.slow
def test_the_kit_is_built_unpacked_timed_trained_and_evaluated(repository, tmp_path):
    folder = repository / "benchmarks" / "gpu"
    kit, out, where = tmp_path / "kit", tmp_path / "out", tmp_path / "where"
    sample = repository / "bundles" / "openkbp" / "sample"
    command = [sys.executable, folder / "build_kit.py", kit, "--cases", sample, "--no-wheels", "--part-mib", "1"]
    built = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert built.returncode == 0, built.stderr
    parts = sorted(kit.glob("openkbp-*.tar"))
    assert len(parts) > 1
    assert max(part.stat().st_size for part in parts) <= 2**20

    patients = {"train": ["pt_74"], "validation": ["pt_226"], "test": ["pt_232"]}
    (tmp_path / "three.json").write_text(json.dumps(patients))
    options = ["--device", "cpu", "--method", "hps", "--encoder", "resnet18", "--epochs", "1", "--batch", "8"]
    options += ["--workers", "0", "--time-s", "300", "--where", where, "--quick"]
    command = [sys.executable, folder / "on_device.py", kit, out, *options]  # all stages
    command += ["--", "--slices", "dose", "--datalist", tmp_path / "three.json"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(list((where / "data" / "openkbp").rglob("*.case"))) == len(list(sample.rglob("*.case")))
    assert "skipped" in (out / "pytest.txt").read_text()  # there is no GPU
    assert "openkbp   device" in (out / "data-path.txt").read_text()
    timed = json.loads((out / "steps.json").read_text())
    assert {row["method"] for row in timed["steps"]} == {"ctan", "mtan", "hps", "stl"}
    loaded = [(row["data_on"], row["workers"]) for row in timed["trainer with loader"]]
    assert loaded == [("device", 0), ("loader", 0), ("loader", 1)]
    assert timed["gflop_per_image"]["stl"] > timed["gflop_per_image"]["hps"] > 0
    assert len(json.loads((out / "openkbp-metrics.json").read_text())["epochs"]) == 1
    with tarfile.open(out / "openkbp-evaluation.tar.gz") as archive:
        assert "metrics.json" in archive.getnames() or any(name.endswith(".csv") for name in archive.getnames())


@pytest.mark.slow
def test_a_damaged_part_is_refused(repository, tmp_path):
    folder = repository / "benchmarks" / "gpu"
    sample = repository / "bundles" / "openkbp" / "sample"
    command = [sys.executable, folder / "build_kit.py", tmp_path / "kit", "--cases", sample, "--no-wheels"]
    subprocess.run(command, check=True, capture_output=True, cwd=tmp_path)
    part = tmp_path / "kit" / "openkbp-1.tar"
    content = bytearray(part.read_bytes())
    content[len(content) // 2] ^= 1
    part.write_bytes(content)
    command = [sys.executable, folder / "on_device.py", tmp_path / "kit", tmp_path / "out", "unpack"]
    done = subprocess.run([*command, "--where", tmp_path / "where"], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode != 0
    assert "openkbp-1.tar is damaged" in done.stderr
