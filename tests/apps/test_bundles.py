"""Bundles from Python do what the command line does."""

import json
import sys

import pytest
from typer.testing import CliRunner

import ctan_monai
from ctan_monai.apps.main import app

TASKS = [
    ctan_monai.Segmentation("lesion", ["core", "edema"]),
    ctan_monai.Classification("grade", ["low", "high"]),
    ctan_monai.Regression("dose", "Gy", 70.0, nonnegative=True),
]
SMALL = {"encoder": "resnet18", "epochs": 1}


def files_of(folder):
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_a_bundle_made_in_python_is_that_of_the_command_line(tmp_path):
    words = ("segmentation:lesion=core:1,edema:3", "classification:grade=low,high", "regression:dose=Gy")
    options = [word for text in words for word in ("--task", text)]
    done = CliRunner().invoke(app, ["new", "mine", *options, "--image", "mr:t1,t2", "--out", str(tmp_path / "a")])
    assert done.exit_code == 0, done.output
    numbers = {"lesion": {"core": [1], "edema": [3]}}
    made = ctan_monai.create_bundle("mine", TASKS, "mr:t1,t2", out=tmp_path / "b", label_values=numbers)
    assert files_of(made) == files_of(tmp_path / "a" / "mine")


@pytest.mark.parametrize(
    ("tasks", "numbers", "said"),
    [
        ([ctan_monai.Segmentation("lesion", ["a b"])], None, "'a b' cannot be used as a name"),
        (TASKS, {"lesion": {"core": [1]}}, "label_values: lesion: .*Give each label its numbers"),
        (TASKS, {"tumor": {"core": [1]}}, "label_values: .*tumor"),
        ([], None, "at least one task"),
    ],
)
def test_what_cannot_be_a_bundle_is_refused(tmp_path, tasks, numbers, said):
    with pytest.raises(ctan_monai.ConfigError, match=said):
        ctan_monai.create_bundle("mine", tasks, out=tmp_path, label_values=numbers)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"epoch": 1}, "Did you mean --epochs"),
        ({"epochs": 0}, "epochs: 0 was found"),
        ({"train#optimiser": 1, "augmentt": 0}, "Did you mean --augment"),
    ],
)
def test_slips_in_options_are_refused_before_anything_is_made(tmp_path, options, said):
    bundle = ctan_monai.create_bundle("mine", TASKS, out=tmp_path)
    before = files_of(bundle)
    with pytest.raises(ctan_monai.ConfigError, match=said):
        ctan_monai.train(bundle, **options)
    assert files_of(bundle) == before


def test_what_is_no_bundle_or_no_run_is_said(tmp_path):
    with pytest.raises(ctan_monai.ConfigError, match=r"has no configs/train\.yaml"):
        ctan_monai.train(tmp_path)
    bundle = ctan_monai.create_bundle("mine", TASKS[:2], "rgb", out=tmp_path)
    with pytest.raises(ctan_monai.CheckpointError, match=r"model\.pt"):
        ctan_monai.predict(bundle, tmp_path / "nothing")


@pytest.mark.slow
def test_a_run_in_python_is_a_run_and_a_second_one_moves_it_aside(tmp_path):
    hook = sys.excepthook
    bundle = ctan_monai.create_bundle("mine", TASKS[:2], "rgb", out=tmp_path)
    run = ctan_monai.train(bundle, method="hps", **SMALL)
    assert run == bundle / "runs" / "hps"
    assert (run / "configs" / "train.yaml").read_bytes() == (bundle / "configs" / "train.yaml").read_bytes()
    assert json.loads((run / "settings.json").read_text())["encoder"] == "resnet18"
    metrics = ctan_monai.evaluate(bundle, run)
    written = json.loads((run / "evaluation" / "summary.json").read_text())["metrics"]
    assert {name: value for name, value in metrics.items() if value == value} == {
        name: value for name, value in written.items() if value is not None
    }
    assert ctan_monai.network_of_run(run).method == "hps"
    image = next(bundle.glob("cache/synthetic-*/*_image.png"))
    folder = ctan_monai.predict(bundle, run, image, output_dir=tmp_path / "out")
    assert folder == tmp_path / "out"
    assert (folder / image.stem / "core.png").is_file()
    assert (folder / "predictions.csv").read_text().splitlines()[1].startswith(f"{image.stem},")
    assert ctan_monai.train(bundle, output_dir=run, method="hps", **SMALL) == run
    assert (bundle / "runs" / "hps.1" / "model.pt").is_file()
    assert sys.excepthook is hook
