"""A bundle that was written for new tasks: from its table to files that a viewer opens, with labels missing."""

import csv
import json
import shutil

import nibabel as nib
import numpy as np
import pytest
from tabular_data import save_image, save_volume, write_csv
from typer.testing import CliRunner

from ctan_monai.apps.main import app
from ctan_monai.data.datasets.tabular.layout import as_layout
from ctan_monai.data.datasets.tabular.phantom import draw_phantom
from ctan_monai.data.datasets.tabular.synthetic import cell_of
from ctan_monai.tasks import Classification, Regression, Segmentation

THREE = ("segmentation:lesion=core,edema", "regression:dose=Gy", "classification:grade=low,high")
TASKS = (
    Segmentation("lesion", ["core", "edema"]),
    Regression("dose", "Gy", 70.0, nonnegative=True),
    Classification("grade", ["low", "high"]),
)
SPLITS = ["train"] * 6 + ["validation"] * 2 + ["test"] * 2
# Which labels each training case lacks: each of the three tasks, two at once, all of them.
LACKING = [(), ("lesion",), ("dose",), ("grade",), ("lesion", "grade"), ("lesion", "dose", "grade")]
SMALL = {"encoder": "resnet18", "epochs": 1, "batch_size": 3}


def new(folder, *options, tasks=THREE, name="mine"):
    """Write a bundle, as a user does."""
    given = [word for task in tasks for word in ("--task", task)]
    done = CliRunner().invoke(app, ["new", name, *given, *options, "--out", str(folder)])
    assert done.exit_code == 0, done.output
    return folder / name


def own_cases(folder, shape):
    """Write somebody's own cases, of which half of the labels to train on are missing, and their table."""
    folder.mkdir()
    rows = []
    for number, split in enumerate(SPLITS):
        phantom = draw_phantom(as_layout(TASKS, ["x"]), number, shape)
        labels = phantom.masks["core"] + 2 * (phantom.masks["edema"] & ~phantom.masks["core"])
        name, lacking = f"p{number}", LACKING[number] if split == "train" else ()
        if len(shape) == 2:
            np.save(folder / f"{name}_dose.npy", phantom.volumes["dose"])
            image = save_image(folder / f"{name}.png", np.clip(phantom.image * 90, 0, 255))
            files = {"lesion": save_image(folder / f"{name}_map.png", labels), "dose": f"{name}_dose.npy"}
        else:
            affine_ras = np.diag([-2.0, -2.0, 3.0, 1.0])  # as a scanner stores it, not as the network sees it
            image = save_volume(folder / f"{name}.nii.gz", (phantom.image * 300).astype(np.int16), affine_ras)
            lesion = save_volume(folder / f"{name}_map.nii.gz", labels.astype(np.uint8), affine_ras)
            dose = save_volume(folder / f"{name}_dose.nii.gz", phantom.volumes["dose"], affine_ras)
            files = {"lesion": lesion, "dose": dose}
        known = files | {"grade": cell_of(TASKS[2], phantom.values["grade"])}
        row = {"case": name, "split": split, "image": image}
        rows.append(row | {task: "" if task in lacking else known[task] for task in known})
    return write_csv(folder / "cases.csv", rows)


def train_evaluate_infer(run, bundle, datalist, method="hps", **options):
    """Go the whole way, and return the run's folder."""
    common = {"bundle_root": str(bundle), "method": method, "encoder": SMALL["encoder"]}
    given = {**common, **SMALL, "datalist": str(datalist), **options}
    made = run(bundle, "train.yaml", run_id="training", **given)
    assert made.check_properties() == []
    folder = bundle / "runs" / method
    evaluated = run(bundle, "train.yaml", "evaluate.yaml", run_id="evaluating", **common)
    assert evaluated.check_properties() == []
    new_images = datalist.parent / "new"
    new_images.mkdir()
    for path in datalist.parent.glob("p[89].*"):
        shutil.copy(path, new_images)
    del common["encoder"]  # the run knows it
    inferred = run(bundle, "inference.yaml", run_id="inferring", kind="infer", input=str(new_images), **common)
    assert inferred.check_properties() == []
    return folder


def check_run(folder, method):
    """See that all three tasks were learned and measured, in spite of missing labels."""
    metrics = json.loads((folder / "metrics.json").read_text())
    (epoch,) = metrics["epochs"]
    assert set(epoch["train"]) == {"lesion", "dose", "grade", "loss"}
    assert all(np.isfinite(value) for value in epoch["train"].values())
    assert {"lesion_dice", "dose_mae_volume", "grade_balanced_accuracy", "selection"} <= set(epoch["validation"])
    assert set(metrics["best"]) == ({"lesion", "dose", "grade"} if method == "stl" else {"all"})
    summary = json.loads((folder / "evaluation" / "summary.json").read_text())
    assert summary["cases"] == 2
    assert {"lesion_dice_core", "dose_mae_volume", "grade_ece", "grade_recall_low"} <= set(summary["metrics"])
    rows = list(csv.DictReader((folder / "inference" / "predictions.csv").open()))
    assert [row["case"] for row in rows] == ["p8", "p9"]
    for row in rows:
        assert float(row["grade: low"]) + float(row["grade: high"]) == pytest.approx(1, abs=1e-5)
    assert (folder / "inference" / "report.html").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("method", ["ctan", "mtan", "hps", "stl"])
def test_three_tasks_of_three_kinds_are_learned_through_a_config_alone(run, tmp_path, method):
    bundle = new(tmp_path, "--image", "gray")
    table = own_cases(tmp_path / "data", (48, 64))
    folder = train_evaluate_infer(run, bundle, table, method, size=[48, 64])
    check_run(folder, method)
    for name in ("core.png", "edema.png", "dose.nii.gz", "overlay.png"):
        assert (folder / "inference" / "p9" / name).stat().st_size > 0


@pytest.mark.slow
@pytest.mark.parametrize("dims", [2, 3], ids=["slices", "patches"])
def test_volumes_are_learned_slice_by_slice_or_in_patches_and_answered_whole(run, tmp_path, dims):
    bundle = new(tmp_path, "--image", "mr", "--spatial-dims", dims)
    shape = (40, 36, 6) if dims == 2 else (40, 32, 32)
    table = own_cases(tmp_path / "data", shape)
    folder = train_evaluate_infer(run, bundle, table, patch_size=[32] * dims)
    check_run(folder, "hps")
    stored = nib.load(tmp_path / "data" / "p9.nii.gz")
    assert nib.aff2axcodes(stored.affine) == ("L", "P", "S")  # not as the network sees it
    for place in ("inference", "evaluation"):
        for name in ("mr", "core", "edema", "lesion", "dose"):
            written = nib.load(folder / place / "p9" / f"{name}.nii.gz")
            assert written.shape == stored.shape
            np.testing.assert_array_equal(written.affine, stored.affine)
    copied = nib.load(folder / "inference" / "p9" / "mr.nii.gz")
    np.testing.assert_array_equal(np.asarray(copied.dataobj), np.asarray(stored.dataobj))
    assert json.loads((folder / "settings.json").read_text())["patch_size"] == [32] * dims


@pytest.mark.slow
def test_a_new_bundle_runs_at_once_on_synthetic_cases_and_says_so(run, tmp_path, caplog):
    tasks = ["segmentation:lesion=3", "classification:grade=2"]
    bundle = new(tmp_path, "--spatial-dims", "2", tasks=tasks)
    run(bundle, "train.yaml", run_id="training", bundle_root=str(bundle), method="hps", **SMALL)
    assert "synthetic cases in use" in caplog.text
    epochs = json.loads((bundle / "runs" / "hps" / "metrics.json").read_text())["epochs"]
    assert set(epochs[0]["train"]) == {"lesion", "grade", "loss"}
    common = {"bundle_root": str(bundle), "method": "hps"}
    run(bundle, "inference.yaml", run_id="inferring", kind="infer", **common)
    assert len(list((bundle / "runs" / "hps" / "inference").glob("synthetic_*/lesion_1.png"))) == 4


@pytest.mark.parametrize(
    "options",
    [["--image", "ct"], ["--image", "mr:t1,t2", "--spatial-dims", "3"], [], ["--image", "gray"]],
    ids=["slices", "volumes", "color", "gray"],
)
def test_monai_finds_all_properties_in_the_configs_of_any_kind(workflow, tmp_path, options):
    bundle = new(tmp_path, *options)
    made = workflow(bundle, "train.yaml", run_id="training", bundle_root=str(bundle), **SMALL)
    made.initialize()
    assert made.check_properties() == []
