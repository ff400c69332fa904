"""Files in fewer bits: they agree with the network about a run's images, or are not written."""

import json
import re
import shutil

import numpy as np
import onnx
import pytest
import torch
from network_cases import TASKS, fill_deterministically, wave
from pack_kit import FEW, HAM10000, kept_logging, run_config
from typer.testing import CliRunner

from ctan_monai.apps.main import app
from ctan_monai.engines.runs.run_network import network_of_run
from ctan_monai.errors import CheckpointError, ConfigError
from ctan_monai.networks import create_network
from ctan_monai.share import ExportedNetwork, RunImages, export_reduced, images_of_run
from ctan_monai.share import reduced as module
from ctan_monai.share.agreement import LIMITS, Limits, compare
from ctan_monai.share.int8 import kept_layers
from ctan_monai.share.pack import EXPORTED
from ctan_monai.tasks import Classification, Regression, Segmentation
from ctan_monai.transforms import LoadCaseFiled

MASKS = Segmentation("masks", ["a", "b"], overlapping=True)
DOSE = Regression("dose", "Gy", 60.0)
GRADE = Classification("grade", ["low", "high"])


def images(count, size=(96, 80)):
    """Make images that are all different."""
    return tuple(wave(count, 1, *size)[index : index + 1] * (1 + index / count) for index in range(count))


@pytest.fixture(scope="module")
def network():
    """Return a network whose answers to the images differ from pixel to pixel and from image to image."""
    made = create_network("hps", TASKS, "resnet18")
    fill_deterministically(made)
    return made.eval()


def relative_error(network, file, image):
    """Compute the error anew, with numpy, in float64."""
    with torch.no_grad():
        ours = {name: logits.numpy().astype(np.float64) for name, logits in network(image).items()}
    theirs = {name: logits.numpy().astype(np.float64) for name, logits in file(image).items()}
    return {name: np.linalg.norm(theirs[name] - ours[name]) / np.linalg.norm(ours[name]) for name in ours}


@pytest.fixture(scope="module")
def files(network, tmp_path_factory):
    """Write the file of each precision and format; what these weights answer is no matter of limits."""
    folder, lenient = tmp_path_factory.mktemp("reduced"), Limits(error=0.5, dice=0.0, mean_difference=1.0, same=0.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "LIMITS", dict.fromkeys(LIMITS, lenient))
        seen = RunImages(images(6), images(3))
        written = [entry for name in LIMITS for entry in export_reduced(network, folder, [], name, seen)]
    return {(entry.precision, entry.format): entry for entry in written}


@pytest.mark.parametrize("key", [("bf16", "torchscript"), ("bf16", "export"), ("int8", "onnx")])
def test_a_file_answers_nearly_as_the_network_for_any_batch_and_size(files, network, key):
    file = ExportedNetwork(files[key].path, TASKS)
    for image in (torch.cat(images(3)), wave(1, 1, 97, 131)):
        errors = relative_error(network, file, image)
        assert list(errors) == ["oar", "dose", "grade"]
        assert max(errors.values()) < 0.1
        assert max(errors.values()) > 1e-4  # it does compute in fewer bits


def test_the_error_that_is_stated_is_that_of_the_file(files, network):
    for entry in files.values():
        found = relative_error(network, ExportedNetwork(entry.path, TASKS), torch.cat(images(3)))
        assert {each.task: each.error for each in entry.agreements} == pytest.approx(found, rel=0.02)


def test_files_are_smaller_than_in_32_bits(files, network):
    whole = 4 * sum(tensor.numel() for tensor in network.state_dict().values())
    share = {key: entry.path.stat().st_size / whole for key, entry in files.items()}
    assert share["bf16", "torchscript"] < 0.55
    assert share["bf16", "export"] < 0.55
    assert share["int8", "onnx"] < 0.5


def test_nothing_of_the_images_or_of_the_machine_goes_into_an_8_bit_file(files, tmp_path_factory):
    path = files["int8", "onnx"].path
    model, content = onnx.load(str(path)), path.read_bytes()
    assert [entry.key for entry in model.metadata_props] == ["ctan_monai.json"]
    assert json.loads(model.metadata_props[0].value)["precision"] == "int8"
    rows = [row for image in images(6) for row in image.reshape(-1, 16).numpy()]  # 64 bytes in a row
    assert not [row for row in rows if row.tobytes() in content]
    assert str(tmp_path_factory.getbasetemp()).encode() not in content
    assert b"quant." not in content  # the folders that onnxruntime calibrates in


def test_first_layers_last_layers_and_doses_stay_in_32_bits(files):
    """Look for weights of a byte, by the decoders' own layers: 12 convolutions and no more lead to the dose alone."""
    graph = onnx.load(str(files["int8", "onnx"].path)).graph
    makers = {name: node for node in graph.node for name in node.output}
    bits = {}
    for node in graph.node:
        if node.op_type in ("Conv", "Gemm", "MatMul"):
            maker = makers.get(node.input[1])
            bits[node.name] = 8 if maker is not None and maker.op_type == "DequantizeLinear" else 32
    assert sum(value == 8 for value in bits.values()) > 20
    kept = kept_layers(graph, ["dose"]) & set(bits)
    assert len(kept) > 5
    assert {bits[name] for name in kept} == {32}
    with_doses = len([name for name, value in bits.items() if value == 32])
    assert with_doses > len([name for name in kept_layers(graph, []) if name in bits])


def onnx_graph():
    """Draw by hand: image -> stem -> shared, from which a dose goes its own way and masks theirs."""
    make = onnx.helper.make_node
    nodes = [
        make("Conv", ["image", "w0"], ["a"], "stem"),
        make("Conv", ["a", "w1"], ["b"], "shared"),
        make("Conv", ["b", "w2"], ["c"], "to_dose"),
        make("Conv", ["c", "w3"], ["d"], "last_of_dose"),
        make("Resize", ["d"], ["dose"], "enlarge"),
        make("Conv", ["b", "w4"], ["e"], "to_masks"),
        make("Conv", ["e", "w5"], ["masks"], "last_of_masks"),
    ]
    outputs = [onnx.helper.make_tensor_value_info(name, 1, None) for name in ("dose", "masks")]
    return onnx.helper.make_graph(nodes, "drawn", [], outputs)


def test_the_kept_layers_of_a_drawing():
    graph = onnx_graph()
    assert kept_layers(graph, []) == {"stem", "last_of_dose", "last_of_masks"}
    assert kept_layers(graph, ["dose"]) == {"stem", "last_of_masks", "to_dose", "last_of_dose", "enlarge"}
    assert kept_layers(graph, ["dose", "masks"]) == {node.name for node in graph.node}


def logits(**values):
    return {name: torch.tensor(value) for name, value in values.items()}


def test_agreement_by_hand():
    """Masks: of label a, 2 and 1 pixels with 1 in common; dose: 0.01 and 0.03 of 60 Gy; classes: 1 of 2 images."""
    ours = logits(masks=[[[1.0, 1.0], [1.0, -1.0]]], dose=[[[0.0, 1.0]]], grade=[[1.0, 0.0], [0.0, 1.0]])
    theirs = logits(masks=[[[1.0, -1.0], [1.0, -1.0]]], dose=[[[0.01, 1.03]]], grade=[[1.0, 0.0], [1.5, 1.0]])
    masks, dose, grade = compare([MASKS, DOSE, GRADE], [(ours, theirs)], Limits(1.1, 0.6, 0.02, 0.5))
    assert (masks.measure, dose.measure, grade.measure) == ("Dice", "mean difference / Gy", "same class")
    assert masks.value == pytest.approx(2 / 3)
    assert dose.value == pytest.approx(1.2)
    assert grade.value == 0.5
    assert masks.error == pytest.approx(1.0)  # 2 over the root of 4
    assert dose.error == pytest.approx(0.001**0.5)
    assert masks.holds
    assert dose.holds
    assert grade.holds
    for limits in (Limits(1.1, 0.7, 0.02, 0.5), Limits(0.9, 0.6, 0.02, 0.5)):
        assert not compare([MASKS], [(ours, theirs)], limits)[0].holds
    assert not compare([DOSE], [(ours, theirs)], Limits(1.1, 0.6, 0.019, 0.5))[0].holds
    assert not compare([GRADE], [(ours, theirs)], Limits(1.1, 0.6, 0.02, 0.51))[0].holds


def test_the_worst_label_counts_and_labels_that_neither_sees_agree():
    ours = logits(masks=[[[1.0, 1.0], [-1.0, -1.0]]])
    assert compare([MASKS], [(ours, ours)], LIMITS["int8"])[0].value == 1.0
    theirs = logits(masks=[[[1.0, 1.0], [1.0, -1.0]]])
    assert compare([MASKS], [(ours, theirs)], LIMITS["int8"])[0].value == 0.0


def test_answers_that_are_not_finite_never_hold():
    ours = logits(masks=[[[1.0, 1.0], [1.0, -1.0]]])
    theirs = logits(masks=[[[float("nan"), 1.0], [1.0, -1.0]]])
    assert not compare([MASKS], [(ours, theirs)], Limits(1e9, 0.0, 1.0, 0.0))[0].holds


def test_a_file_that_is_too_far_off_is_not_left_behind(network, tmp_path, monkeypatch):
    monkeypatch.setitem(module.LIMITS, "bf16", Limits(1e-6, 1.0, 0.0, 1.0))
    with pytest.raises(CheckpointError, match=r"in bf16 the answers are too far .* in oar \(relative error 0\.0"):
        export_reduced(network, tmp_path, ["torchscript"], "bf16", RunImages(images(2), images(2)))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "remedy"),
    [
        (["--precision", "int8", "--format", "torchscript"], "use --format onnx, or --precision bf16"),
        (["--precision", "int8", "--format", "onnx", "--format", "export"], "use --format onnx"),
        (["--precision", "bf16", "--format", "onnx"], "use --format torchscript or export, or --precision int8"),
        (["--precision", "fp16"], "Use one of ['fp32', 'bf16', 'int8']"),
        (["--precision", "int8", "--size", "64,64"], "images of the run are used"),
        (["--precision", "int8"], "has no copy of its config"),
    ],
)
def test_what_cannot_be_had_is_refused_with_a_remedy(run_dir, tmp_path, arguments, remedy):
    done = CliRunner().invoke(app, ["export", str(run_dir), "--out", str(tmp_path / "out"), *arguments])
    assert done.exit_code == 2
    assert remedy in " ".join(done.output.split())
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def whole_run(small_run, tmp_path_factory):
    """Return a run with the copy of its config that `monai.bundle run` leaves, which finds its data from anywhere."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    shutil.copytree(small_run, folder)
    text = (HAM10000 / "configs" / "train.yaml").read_text()
    for name, value in {"bundle_root": HAM10000, "cache_dir": small_run.parent / "cache"}.items():
        text = re.sub(rf"(?m)^{name}: .*$", f"{name}: {value}", text)
    (folder / "configs").mkdir(exist_ok=True)
    (folder / "configs" / "train.yaml").write_text(text)
    return folder


def test_the_images_of_a_run_are_those_of_its_validation(whole_run, small_run):
    with kept_logging():
        found = images_of_run(whole_run, network_of_run(whole_run), count=3)
    assert [tuple(image.shape) for image in found.training] == [(1, 3, 48, 64)] * 3
    assert len(found.validation) == len(FEW["validation"])  # there are no more
    cases = list((small_run.parent / "cache").rglob("*.case"))
    tasks = network_of_run(whole_run).tasks
    load = LoadCaseFiled(tasks, image_channels=["red", "green", "blue"])
    mean, std = torch.tensor([123.675, 116.28, 103.53]), torch.tensor([58.395, 57.12, 57.375])
    expected = []
    for name in FEW["validation"]:
        (file,) = (path for path in cases if path.name.startswith(name))
        raw = torch.as_tensor(np.asarray(load({"case": name, "file": str(file)})["image"]))  # (3, H, W)
        expected.append((raw - mean[:, None, None]) / std[:, None, None])
    for image in found.validation:
        assert any(torch.allclose(image[0], other, atol=1e-5) for other in expected)


def test_data_that_are_gone_are_named(whole_run, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(whole_run, folder)
    settings = json.loads((folder / "settings.json").read_text())
    (folder / "settings.json").write_text(json.dumps({**settings, "dataset_dir": str(tmp_path / "gone")}))
    with pytest.raises(CheckpointError, match=r"images cannot be read \(.*gone.*export with precision fp32"):
        images_of_run(folder, network_of_run(folder))


@pytest.mark.slow
def test_a_bundle_predicts_by_an_8_bit_file(whole_run, small_run, tmp_path, monkeypatch):
    """After one epoch on four images, answers are near each other: the limits for a trained network are not held."""
    monkeypatch.setattr(module, "LIMITS", dict.fromkeys(LIMITS, Limits(0.5, 0.5, 0.1, 0.0)))
    with kept_logging():
        done = CliRunner().invoke(app, ["export", str(whole_run), "--precision", "int8", "--out", str(tmp_path)])
    assert done.exit_code == 0, done.output
    (entry,) = json.loads((tmp_path / "export.int8.json").read_text())
    assert (entry["path"], entry["precision"]) == ("model.int8.onnx", "int8")
    assert [found["measure"] for found in entry["agreements"]] == ["Dice", "same class"]
    options = {"run_dir": str(small_run), "cache_dir": str(small_run.parent / "cache"), "overlays": 0}
    options |= {"exported": str(tmp_path / "model.int8.onnx"), "output_dir": str(tmp_path / "found")}
    run_config(HAM10000, "inference.yaml", EXPORTED, run_id="inferring", kind="infer", **options)
    rows = (tmp_path / "found" / "predictions.csv").read_text().splitlines()
    assert len(rows) > 1
    with pytest.raises(ConfigError):
        ExportedNetwork(tmp_path / "model.int8.onnx", TASKS)
