"""The bundles' overlay that predicts by an exported file instead of model.pt."""

import csv
import json

import pytest
from pack_kit import HAM10000, run_config
from typer.testing import CliRunner

from ctan_monai.apps.main import app
from ctan_monai.share.pack import EXPORTED


def answers(folder):
    """Read the probabilities of each case."""
    with (folder / "predictions.csv").open() as file:
        return {row["case"]: [float(row[key]) for key in row if ":" in key] for row in csv.DictReader(file)}


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".onnx", ".ts"])
def test_a_bundle_predicts_by_a_file_what_its_run_predicts(small_run, tmp_path, suffix):
    format_name = {".onnx": "onnx", ".ts": "torchscript"}[suffix]
    exporting = ["export", str(small_run), "--format", format_name, "--size", "64,64", "--out", str(tmp_path)]
    done = CliRunner().invoke(app, exporting)
    assert done.exit_code == 0, done.output
    options = {"run_dir": str(small_run), "cache_dir": str(small_run.parent / "cache"), "overlays": 0}
    options |= {"exported": str(tmp_path / f"model{suffix}"), "output_dir": str(tmp_path / "found")}
    run_config(HAM10000, "inference.yaml", EXPORTED, run_id="inferring", kind="infer", **options)
    expected, found = answers(small_run / "inference"), answers(tmp_path / "found")
    assert list(found) == list(expected)
    assert len(found) > 1
    for case, probs in expected.items():
        assert found[case] == pytest.approx(probs, abs=1e-4)
    index = json.loads((tmp_path / "found" / "cases.json").read_text())
    assert index.get("providers") == (["CPUExecutionProvider"] if suffix == ".onnx" else None)
