"""What exported files say of images and outputs is enough to predict with them: by onnxruntime and nothing of ours."""

import json
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
import yaml
from monai.bundle import ConfigParser
from monai_protocol import infer, packed_untrained
from network_cases import GRADE, OAR
from PIL import Image
from tabular_data import save_volume
from typer.testing import CliRunner

from ctan_monai.apps.main import app
from ctan_monai.engines.runs.run_record import describe
from ctan_monai.networks import create_network
from ctan_monai.share.image_format import file_description, image_format, output_format
from ctan_monai.tasks import Classification, Regression, Segmentation

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "docs" / "examples"
ALONE = """
import runpy, sys
sys.modules.update(dict.fromkeys(("ctan_monai", "monai", "torch")))
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def run_alone(example, *arguments):
    """Run an example while ctan_monai, monai and torch are out of reach."""
    command = [sys.executable, "-c", ALONE, str(EXAMPLES / example), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def exported_with(bundle, folder, **options):
    """Return a packed bundle and its network as ONNX, exported by the command from a run that has its config."""
    packed = packed_untrained(ROOT / "bundles" / bundle, folder, **options)
    run = folder / "run"
    (run / "configs").mkdir()
    (run / "configs" / "train.yaml").write_text((ROOT / "bundles" / bundle / "configs" / "train.yaml").read_text())
    made = CliRunner().invoke(app, ["export", str(run), "--format", "onnx"], env={"COLUMNS": "200"})
    assert made.exit_code == 0, made.output
    return packed, run / "export" / "model.onnx"


def dice(a, b):
    return 2 * np.logical_and(a, b).sum() / (a.sum() + b.sum())


@pytest.mark.slow
@pytest.mark.parametrize("mm", [3.0, 1.3, 4.4])
def test_onnxruntime_alone_predicts_a_ct_as_the_bundle_does(tmp_path, mm):
    bundle, model = exported_with(
        "openkbp" if mm > 4 else "prostate", tmp_path, **({} if mm > 4 else {"pixel_mm": 3.0})
    )
    shape = (66, 70, 5)
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, size) for size in shape), indexing="ij")
    ct = np.where(x**2 + y**2 < 0.8, 60 * np.sin(5 * x + 2 * z) + 50 * np.cos(4 * y - z), -1000).astype(np.int16)
    path, out = tmp_path / "ct.nii.gz", tmp_path / "out"
    out.mkdir()
    affine = np.diag([-mm, -mm, 4.0, 1.0])
    affine[:3, 3] = 30, 40, -7
    save_volume(path, ct, affine)
    run_alone("onnx_ct.py", model, path, out)
    data, _, _ = infer(bundle, str(path))
    names = [label for entry in data["result"].values() if "labels" in entry for label in entry["labels"].values()]
    scores = []
    for name, mask in zip(names, data["oar"].array, strict=True):
        found = nib.load(out / f"{name}.nii.gz")
        assert np.allclose(found.affine, affine)
        scores.append(dice(found.get_fdata() > 0, mask > 0) if mask.any() else 1.0)
    assert min(scores) > 0.99
    assert sum(bool(mask.any()) for mask in data["oar"].array) > 1
    dose = nib.load(out / "dose.nii.gz").get_fdata()
    assert np.abs(dose - data["dose"].array[0]).max() < (1e-3 if mm == 3.0 else 0.5)  # Gy


@pytest.mark.slow
def test_onnxruntime_alone_predicts_a_jpeg_as_the_bundle_does(tmp_path):
    bundle, model = exported_with("ham10000", tmp_path, image_size=[48, 64])
    y, x = np.mgrid[0:90, 0:130] / 90
    rgb = np.stack([120 + 90 * np.sin(9 * x), 110 + 90 * np.cos(7 * y), 60 + 60 * np.sin(5 * x * y)], -1)
    path, out = tmp_path / "lesion.jpg", tmp_path / "out"
    out.mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright
    Image.fromarray(rgb.astype(np.uint8)).save(path, exif=exif)
    run_alone("onnx_image.py", model, path, out)
    data, array, _ = infer(bundle, str(path))
    assert 0 < array.mean() < 1
    assert np.array_equal(np.array(Image.open(out / "lesion.png")) > 0, array.T > 0)
    answer = json.loads((out / "diagnosis.json").read_text())
    assert answer == pytest.approx(data["result"]["diagnosis"], abs=1e-5)


def test_the_examples_are_short_and_import_nothing_of_ours():
    for path in EXAMPLES.glob("*.py"):
        text = path.read_text()
        code = [line for line in text.splitlines() if line.strip() and not line.startswith(("import", "from", '"""'))]
        assert len(code) <= 30
        assert not any(word in line for line in text.splitlines() if "import" in line for word in ("monai", "torch"))


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        (OAR, {"channels": list(OAR.labels), "activation": "sigmoid", "threshold": 0.5}),
        (
            Segmentation("lesion", ["core", "edema"]),
            {"channels": ["background", "core", "edema"], "activation": "softmax", "threshold": "argmax"},
        ),
        (GRADE, {"channels": list(GRADE.classes), "activation": "softmax", "threshold": "argmax"}),
        (Classification("covid", ["covid"]), {"channels": ["covid"], "activation": "sigmoid", "threshold": 0.5}),
        (
            Regression("age", "years", 50.0, level="image"),
            {"channels": ["age"], "activation": "none", "scale": 50.0, "unit": "years"},
        ),
    ],
)
def test_each_kind_of_task_says_how_its_logits_become_an_answer(task, expected):
    assert output_format(task) == expected


EXPECTED = {
    "prostate": {"windows": {"ct": [-160, 240]}, "axes": "PLS", "spacing_mm": [3.0, 3.0, None], "channels": ["ct"]},
    "openkbp": {"windows": {"ct": [-160, 240]}, "axes": "PLI", "channels": ["ct"], "size": [128, 128]},
    "ham10000": {"mean": [123.675, 116.28, 103.53], "size": [192, 256], "channels": ["red", "green", "blue"]},
    "busi": {"std": [255.0, 255.0, 255.0], "size": [256, 256], "channels": ["red", "green", "blue"]},
    "stoic": {"windows": {"ct": [-1350, 150]}, "axes": "PLS", "size": [160, 224]},
    "mr_ct": {"channels": ["mr"], "axes": "PLS", "spacing_mm": [3.0, 3.0, None], "values": "signal without unit"},
}


@pytest.mark.parametrize("bundle", EXPECTED)
def test_a_bundle_says_what_its_images_are_like_without_any_of_it_being_run(bundle):
    config = yaml.safe_load((ROOT / "bundles" / bundle / "configs" / "train.yaml").read_text())
    size = EXPECTED[bundle].get("size", [128, 128])
    settings = {"pixel_mm": 3.0, "image_size": size, "patch_size": size, "inputs": "ct"}
    found = image_format(config, settings)
    assert {name: found[name] for name in EXPECTED[bundle]} == EXPECTED[bundle]
    json.dumps(found)


def test_what_only_code_could_tell_is_left_out():
    told = {"axes": "$__import__('os').system('true')", "size": "@size", "windows": {"ct": "@a"}, "values": "HU"}
    config = {"image_format": told, "size": {"_target_": "os.getcwd"}, "a": "@b", "b": "@a"}
    assert image_format(config, {}) == {"values": "HU"}
    assert image_format({}, {}) == {}


def test_a_new_bundle_says_its_window_or_imagenet_s_mean(tmp_path):
    for name, image, expected in (
        ("a", "ct", {"windows": {"ct": [-160, 240]}, "axes": "RAS", "values": "HU"}),
        ("b", "rgb", {"mean": [123.675, 116.28, 103.53], "std": [58.395, 57.12, 57.375], "size": [80, 96]}),
    ):
        arguments = ["new", name, "--task", "segmentation:spot", "--image", image, "--out", str(tmp_path)]
        assert CliRunner().invoke(app, arguments).exit_code == 0
        config = yaml.safe_load((tmp_path / name / "configs" / "train.yaml").read_text())
        options = {"normalize": config["normalize"], "window": config["window"], "size": [80, 96], "axes": "RAS"}
        found = image_format(config, options)
        assert {key: found[key] for key in expected} == expected


@pytest.mark.parametrize("bundle", ["prostate", "openkbp", "ham10000", "stoic", "busi", "mr_ct"])
def test_a_bundle_s_metadata_describe_the_logits_of_its_tasks(bundle):
    folder = ROOT / "bundles" / bundle / "configs"
    outputs = json.loads((folder / "metadata.json").read_text())["network_data_format"]["outputs"]
    parser = ConfigParser(ConfigParser.load_config_file(str(folder / "train.yaml")))
    parser.update({"method": "hps", "encoder": "resnet18", "bundle_root": str(folder.parent)})
    network = parser.get_parsed_content("network_def").eval()
    with torch.no_grad():
        logits = network(torch.rand(2, network.settings["in_channels"], 64, 64))
    assert list(outputs) == ["pred", *list(logits)[1:]]
    assert [entry["task"] for entry in outputs.values()] == list(logits)
    for entry, task in zip(outputs.values(), network.tasks, strict=True):
        assert entry["num_channels"] == logits[task.name].shape[1]
        assert entry["value_range"] == []
        assert (entry.get("scale"), entry.get("unit")) == (getattr(task, "scale", None), getattr(task, "unit", None))


def test_a_score_of_the_slice_is_a_channel_of_its_own():
    task = Classification("covid", ["covid"])
    network = create_network("hps", [task], "resnet18", decoder_options={"slice_score": True}).eval()
    with torch.no_grad():
        logits = network(torch.rand(2, 1, 64, 64))["covid"]
    entry = file_description(describe(network), {})["outputs"]["covid"]
    assert entry["channels"] == ["covid", "slice_score"]
    assert len(entry["channels"]) == logits.shape[1]
