"""The prostate bundle from DICOM to metrics and files, on coarse synthetic patients."""

import csv
import json
import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
import yaml
from amp_kit import AMP
from bundle_kit import EACH_RUN_ID, check_run, each_refused_option, has_all_properties, refused, start

from ctan_monai.data.cases.cache import read_case_file
from ctan_monai.data.datasets.dicom_rt.datalist import dicom_datalist
from ctan_monai.data.phantom import PhantomGrid, make_cohort
from ctan_monai.engines import read_data_record
from ctan_monai.errors import ConfigError, DataError, find_ctan_error
from ctan_monai.metrics.dvh import doses_inside

ROOT = Path(__file__).parents[2]
BUNDLE = ROOT / "bundles" / "prostate"
GRID = {"rows": 60, "columns": 90, "slices": 12, "row_mm": 5.0, "column_mm": 5.0, "slice_mm": 8.0}
ORGANS = ("Rectum", "Bladder", "Femur_L", "Femur_R", "CTV")
OVERLAY = ("train.yaml", "evaluate.yaml")


@pytest.fixture(scope="module")
def options(tmp_path_factory):
    """Settings that make everything small, and a cache in which three synthetic patients are made once."""
    cache = tmp_path_factory.mktemp("cache")
    grid = {"_target_": "ctan_monai.data.PhantomGrid", **GRID}
    small = {"encoder": "resnet18", "epochs": 1, "batch_size": 4, "pixel_mm": 6.0, "image_size": [64, 64]}
    return {**small, "phantoms": 3, "phantom_grid": grid, "cache_dir": str(cache), "amp": AMP}


@EACH_RUN_ID
def test_the_training_config_has_all_properties_that_monai_asks_for(workflow, options, tmp_path, run_id):
    made = workflow("prostate", "train.yaml", run_id=run_id, output_dir=str(tmp_path / "run"), **options)
    has_all_properties(made)


@each_refused_option("prostate")
def test_a_wrong_option_is_named_with_what_may_be_given(workflow, options, tmp_path, wrong, message):
    made = workflow("prostate", "train.yaml", output_dir=str(tmp_path / "run"), **{**options, **wrong})
    refused(made, message, ConfigError, DataError)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["ctan", "mtan", "hps", "stl"])
def test_training_and_evaluation_leave_what_they_promise(run, options, tmp_path, method):
    folder = tmp_path / "run"
    given = {**options, "method": method, "output_dir": str(folder)}
    run("prostate", "train.yaml", run_id="training", **given)
    record = read_data_record(folder)
    assert record == {
        "source": "DICOM",
        "synthetic": True,
        "prescriptions_gy": {"60": 3},
        "normalized_to_gy": None,
        "cases": {"train": 1, "validation": 1, "test": 1},
    }
    log = (folder / "log.txt").read_text()
    assert "the data are SYNTHETIC: 3 phantoms, computed from random numbers" in log
    assert "give --dataset_dir for real ones" in log
    lists = dicom_datalist(next(Path(options["cache_dir"]).glob("synthetic_*/prepared")), "", ("validation", "test"))
    (seen,), (tested,) = lists["validation"], lists["test"]
    images = [f"predictions/{seen['case']}/{name}.png" for name in ("overlay", "dvh")]
    check_run(folder, method, ("oar", "dose"), {"oar_dice", "oar_dice_CTV", "dose_mae_region"}, images)
    given = {key: value for key, value in given.items() if key not in ("pixel_mm", "phantoms")}  # the run says them
    evaluated = run("prostate", *OVERLAY, run_id="evaluating", **given)
    assert evaluated.check_properties() == []
    check_evaluation(folder / "evaluation", tested)


def check_evaluation(folder, tested):
    """See that the metrics are there and follow from what was written, which covers the whole CT."""
    case = read_case_file(tested["file"])
    summary = json.loads((folder / "summary.json").read_text())["metrics"]
    (row,) = csv.DictReader((folder / "per_case.csv").open())
    assert row["case"] == tested["case"]
    region, dose = case.masks["dose_region"], case.volumes["dose"]
    files = {name: nib.load(folder / row["case"] / f"{name}.nii.gz") for name in (*ORGANS, "dose", "ct")}
    assert all(file.shape == case.shape for file in files.values())
    assert all(np.allclose(file.affine, case.affine_ras, atol=1e-4) for file in files.values())
    predicted = np.asarray(files["dose"].dataobj)
    assert not predicted[~region].any()  # as the reference, so that images and DVHs compare what is known
    error = np.abs(predicted.astype(float) - dose)
    for name, inside in {"region": region, "External": case.masks["External"] & region}.items():
        assert summary[f"dose_mae_{name}"] == pytest.approx(error[inside].mean(), rel=1e-4)
    assert float(row["PTV:Dmean:reference"]) == pytest.approx(doses_inside(dose, case.masks["PTV"]).mean(), rel=1e-4)
    assert {"dose_error_Rectum_V40Gy", "dose_error_CTV_D98%", *(f"oar_dice_{organ}" for organ in ORGANS)} <= set(
        summary
    )
    assert (folder / row["case"] / "overlay.png").is_file()
    assert (folder / "report.html").is_file()


@pytest.mark.slow
def test_a_folder_of_dicom_and_what_was_prepared_of_it_train_alike(run, options, tmp_path):
    grid = PhantomGrid(**GRID)
    exported = make_cohort(tmp_path / "export", 3, seed=7, grid=grid, progress=False).folder
    given = {**options, "method": "hps", "learning_rate": 0.0005, "cache_dir": str(tmp_path / "cache")}
    losses = []
    for name, source in (("dicom", exported), ("prepared", tmp_path / "cache")):
        output = tmp_path / name
        run("prostate", "train.yaml", run_id="training", dataset_dir=str(source), output_dir=str(output), **given)
        assert read_data_record(output)["synthetic"] is True  # the files say so themselves
        assert "the data are SYNTHETIC" in (output / "log.txt").read_text()
        losses.append(json.loads((output / "metrics.json").read_text())["epochs"][0]["train"])
    assert losses[0] == losses[1]


@pytest.mark.slow
def test_volumes_with_contours_are_learned_and_answered_from_dicom_as_from_the_cache(run, tmp_path):
    export = make_cohort(tmp_path / "export", 3, seed=7, grid=PhantomGrid(**GRID), progress=False).folder
    folder, learned = tmp_path / "run", {"inputs": "contours", "spatial_dims": 3, "image_size": [64, 64, 32]}
    learned |= {"epochs": 8, "val_interval": 8, "batch_size": 1, "pixel_mm": 6.0}
    places = {"cache_dir": str(tmp_path / "cache"), "method": "hps", "encoder": "resnet18"}
    given = {**places, "output_dir": str(folder), "dataset_dir": str(export)}
    run("prostate", "train.yaml", run_id="training", **given, **learned)
    losses = [epoch["train"]["loss"] for epoch in json.loads((folder / "metrics.json").read_text())["epochs"]]
    assert losses[-1] < losses[0]
    run("prostate", *OVERLAY, run_id="evaluating", **given)
    (tested,) = dicom_datalist(places["cache_dir"], "", ["test"])["test"]
    check_evaluation(folder / "evaluation", tested)
    places |= {"run_dir": str(folder), "output_dir": str(tmp_path / "out")}
    run("prostate", "inference.yaml", run_id="inferring", kind="infer", input=str(export), **places)
    case, region = tested["case"], read_case_file(tested["file"]).masks["dose_region"]
    answers = [tmp_path / "out" / "report" / case, folder / "evaluation" / case]
    inferred, evaluated = (np.asarray(nib.load(each / "dose.nii.gz").dataobj) for each in answers)
    np.testing.assert_array_equal(inferred[region], evaluated[region])
    assert inferred[region].max() > 1
    dose = pydicom.dcmread(tmp_path / "out" / case / "RD.dcm")
    assert float(dose.pixel_array.max() * dose.DoseGridScaling) == pytest.approx(inferred.max(), rel=0.15)


def test_evaluating_without_a_run_says_so(workflow, options, tmp_path):
    given = {key: value for key, value in options.items() if key != "pixel_mm"}
    made = workflow("prostate", *OVERLAY, run_id="evaluating", output_dir=str(tmp_path / "nothing"), **given)
    with pytest.raises(RuntimeError) as caught:
        start(made)
    assert "Train first" in str(find_ctan_error(caught.value))


def test_the_page_of_the_bundle_lists_options_with_their_defaults():
    page = (BUNDLE / "docs" / "README.md").read_text(encoding="utf-8")
    listed = dict(re.findall(r"^\| `(\w+)` \| `?([^|`]*?)`? ?\| [^|]+\|$", page, re.M))
    config = yaml.safe_load((BUNDLE / "configs" / "train.yaml").read_text(encoding="utf-8"))
    assert {"dataset_dir", "pixel_mm", "image_size", "names", "normalize_to_gy"} <= listed.keys() <= config.keys()
    assert {name: yaml.safe_load(text) for name, text in listed.items() if text} == {
        name: config[name] for name, text in listed.items() if text
    }
    for name in [name for name, text in listed.items() if not text]:
        assert re.search(r"\$[\d.]+ if @dataset_dir.* else [\d.]+|\$\[.+ if @spatial_dims == 2 else", config[name]), (
            name
        )
