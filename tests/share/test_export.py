"""Exported files answer as the network does, whoever runs them; what cannot be exported or read is refused."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from network_cases import DOSE, TASKS, wave
from typer.testing import CliRunner

import ctan_monai
from ctan_monai.apps.main import app
from ctan_monai.engines import MultiTaskInferer
from ctan_monai.engines.runs.run_network import network_of_run
from ctan_monai.errors import CheckpointError, ConfigError
from ctan_monai.share import FORMATS, ExportedNetwork, export_network
from ctan_monai.share import export as module

SUFFIXES = {name: known.suffix for name, known in FORMATS.items()}


@pytest.fixture(scope="session")
def exported(run_dir):
    """Export by the command, as a user does."""
    result = CliRunner().invoke(app, ["export", str(run_dir), "--size", "128,96"], env={"COLUMNS": "160"})
    assert result.exit_code == 0, result.output
    return run_dir / "export"


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("shape", [(1, 1, 128, 128), (3, 1, 97, 150)])
def test_a_file_answers_as_the_network_for_any_batch_and_size(exported, trained, name, shape):
    file = ExportedNetwork(exported / f"model{SUFFIXES[name]}", TASKS)
    with torch.no_grad():
        expected = trained(wave(*shape))
    answer = file(wave(*shape))
    assert list(answer) == ["oar", "dose", "grade"]
    for task, logits in expected.items():
        torch.testing.assert_close(answer[task], logits, rtol=1e-4, atol=1e-4)


def test_the_onnx_file_is_valid_and_names_what_goes_in_and_out(exported):
    onnx.checker.check_model(str(exported / "model.onnx"), full_check=True)
    session = onnxruntime.InferenceSession(exported / "model.onnx", providers=["CPUExecutionProvider"])
    assert [entry.name for entry in session.get_inputs()] == ["image"]
    assert [entry.name for entry in session.get_outputs()] == ["oar", "dose", "grade"]


def test_axes_have_names_and_a_json_beside_the_file_says_what_the_file_says(exported):
    session = onnxruntime.InferenceSession(exported / "model.onnx", providers=["CPUExecutionProvider"])
    assert session.get_inputs()[0].shape == ["batch", 1, "height", "width"]
    assert [entry.shape for entry in session.get_outputs()] == [
        ["batch", 3, "height", "width"],
        ["batch", 1, "height", "width"],
        ["batch", 3],
    ]
    about = json.loads((exported / "model.onnx.json").read_text())
    assert about == json.loads(session.get_modelmeta().custom_metadata_map["ctan_monai.json"])
    assert about["outputs"]["dose"] == {
        "layout": ["batch", "channel", "height", "width"],
        "channels": ["dose"],
        "activation": "none",
        "scale": DOSE.scale,
        "unit": "Gy",
    }
    assert about["image"]["layout"] == ["batch", "channel", "height", "width"]


def test_the_command_writes_what_it_measured(exported):
    entries = json.loads((exported / "export.json").read_text())
    assert [entry["path"] for entry in entries] == ["model.ts", "model.onnx", "model.pt2"]
    for entry in entries:
        assert set(entry["largest_difference"]) == {"oar", "dose", "grade"}
        assert all(0 <= value <= module.TOLERANCE for value in entry["largest_difference"].values())
        assert len({shape[-1] for shape in map(tuple, entry["shapes"])}) == 2


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_does_not_tell_where_it_was_made(exported, name):
    """Exporters note the source file of each line, under folders that can be called after a person."""
    path = exported / f"model{SUFFIXES[name]}"
    contents = [path.read_bytes()]
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            contents = [archive.read(entry) for entry in archive.namelist()]
    for folder in (Path(torch.__file__).parent, Path(ctan_monai.__file__).parent, exported.parent, Path.home() / ""):
        assert not [content for content in contents if f"{folder}/".encode() in content], folder


def test_a_volume_goes_through_an_exported_network_slice_by_slice(exported, trained):
    volume = wave(1, 1, 96, 72, 3)
    answer = MultiTaskInferer(slice_batch=2)(volume, ExportedNetwork(exported / "model.onnx", TASKS))
    with torch.no_grad():
        expected = torch.stack([trained(volume[..., index])["dose"] for index in range(3)], dim=-1)
    torch.testing.assert_close(answer["dose"], expected, rtol=1e-4, atol=1e-4)


def test_execution_providers_that_are_not_there_are_left_out_and_it_is_said(exported, trained, caplog):
    there = onnxruntime.get_available_providers()
    with caplog.at_level("INFO"):
        file = ExportedNetwork(exported / "model.onnx", TASKS, providers=["NowhereExecutionProvider", *there])
    assert file.providers == onnxruntime.InferenceSession(exported / "model.onnx", providers=there).get_providers()
    assert f"lacks NowhereExecutionProvider; {', '.join(there)} is used." in caplog.text
    assert f"model.onnx is computed by {', '.join(file.providers)}." in caplog.text
    with torch.no_grad():
        expected = trained(wave(1, 1, 96, 72))
    for task, logits in file(wave(1, 1, 96, 72)).items():
        torch.testing.assert_close(logits, expected[task], rtol=1e-4, atol=1e-4)


def test_absent_execution_providers_alone_and_those_of_another_format_are_refused(exported):
    with pytest.raises(ConfigError, match=r"this onnxruntime has \[.*CPUExecutionProvider.*Name one of these"):
        ExportedNetwork(exported / "model.onnx", TASKS, providers=["NowhereExecutionProvider"])
    with pytest.raises(ConfigError, match=r"model\.ts is computed by torch.*model\.onnx with --exported"):
        ExportedNetwork(exported / "model.ts", TASKS, providers=["CUDAExecutionProvider"])


@pytest.mark.skipif(len(onnxruntime.get_available_providers()) < 2, reason="onnxruntime has the CPU's provider alone")
def test_a_provider_that_answers_otherwise_than_the_cpu_is_not_used(exported, tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes((exported / "model.onnx").read_bytes())
    file = ExportedNetwork(path, TASKS, providers=onnxruntime.get_available_providers())
    model = onnx.load(str(path))
    node = next(node for node in model.graph.node if "dose" in node.output)
    node.output[0] = "before"
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.float32(1.02), "factor"))
    model.graph.node.append(onnx.helper.make_node("Mul", ["before", "factor"], ["dose"]))
    onnx.save(model, str(path))
    with pytest.raises(CheckpointError, match=r"relative error \{'dose': 0\.0196\}.*--providers"):
        file(wave(1, 1, 96, 72))


def test_the_network_of_a_run_needs_nothing_but_its_folder(run_dir, trained):
    network = network_of_run(run_dir)
    assert not network.training
    for key, value in trained.state_dict().items():
        assert torch.equal(network.state_dict()[key], value)


def test_a_folder_without_a_run_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"run\.json: there is no trained network.*name the folder of a run"):
        network_of_run(tmp_path)


def test_a_file_that_answers_otherwise_is_not_left_behind(trained, tmp_path, monkeypatch):
    class Twisted(torch.nn.Module):
        """Answers as the network, but for a thousandth."""

        def forward(self, image):
            return {name: logits * 1.001 for name, logits in trained(image).items()}

    read = FORMATS["torchscript"].read
    twisted = module.Format(".ts", FORMATS["torchscript"].write, lambda path: (Twisted(), read(path)[1]))
    monkeypatch.setitem(module.FORMATS, "torchscript", twisted)
    with pytest.raises(CheckpointError, match=r"answers differ from the network's by \{'oar': "):
        export_network(trained, tmp_path, ["torchscript"], (64, 64))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_size_that_torch_export_does_not_take_is_refused_and_no_file_is_left(trained, tmp_path):
    with pytest.raises(ConfigError, match="does not take images of"):
        export_network(trained, tmp_path, ["export"], (32, 32))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("formats", "size"), [(["tensorrt"], (64, 64)), (["onnx"], (64,)), (["onnx"], (8, 64)), ([], (64, 64))]
)
def test_what_cannot_be_exported_is_refused(trained, tmp_path, formats, size):
    with pytest.raises(ConfigError, match="Remedy: "):
        export_network(trained, tmp_path, formats, size)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("damage", [b"", b"not a network", None])
def test_a_file_that_is_no_network_is_refused(exported, tmp_path, name, damage):
    path = tmp_path / f"model{SUFFIXES[name]}"
    whole = (exported / path.name).read_bytes()
    path.write_bytes(whole[: len(whole) // 2] if damage is None else damage)
    with pytest.raises(CheckpointError, match="Export it again"):
        ExportedNetwork(path, TASKS)


def test_a_missing_file_another_kind_and_other_tasks_are_refused(exported, tmp_path):
    with pytest.raises(CheckpointError, match="there is no such file"):
        ExportedNetwork(tmp_path / "model.ts", TASKS)
    with pytest.raises(ConfigError, match=r"ends in one of \['\.ts', '\.onnx', '\.pt2'\]"):
        ExportedNetwork(tmp_path / "model.pth", TASKS)
    with pytest.raises(ConfigError, match=r"answers \['oar', 'dose', 'grade'\]"):
        ExportedNetwork(exported / "model.ts", [DOSE])


def test_reading_onnx_leaves_no_telemetry_at_home(exported, tmp_path):
    """Onnxruntime 1.31 keeps a device's id under the user's cache and reports use, unless it is told not to."""
    code = f"from ctan_monai.share.formats import read_exported; read_exported({str(exported / 'model.onnx')!r})"
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    environment |= {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, timeout=120)
    assert [path.name for path in tmp_path.rglob("*") if "onnx" in path.name or path.name == "Microsoft"] == []
