"""The OpenKBP bundle from training to files that a viewer opens, on patients of its sample."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from amp_kit import AMP
from bundle_kit import EACH_RUN_ID, check_run, command, each_refused_option, has_all_properties, refused

from ctan_monai.data.cases.cache import read_case_file
from ctan_monai.data.cases.file_write import write_case
from ctan_monai.data.datasets.openkbp.sparse import read_sparse
from ctan_monai.errors import ConfigError, find_ctan_error

ROOT = Path(__file__).parents[2]
BUNDLE = ROOT / "bundles" / "openkbp"
SAMPLE = BUNDLE / "sample"
FIRST_SLICES = {"train/pt_74.case": 40, "validation/pt_226.case": 28, "test/pt_232.case": 36}  # of parotids and targets
TEST_PATIENT = "test/pt_232.case"
ANSWERS = ("inference", "evaluation")
SMALL = {"encoder": "resnet18", "epochs": 1, "batch_size": 16, "slices": "dose", "amp": AMP}


@pytest.fixture(scope="module")
def cut(tmp_path_factory):
    """Three of the sample's patients with 32 of their 128 slices, which take a quarter of the time."""
    folder = tmp_path_factory.mktemp("sample")
    for name, first in FIRST_SLICES.items():
        case = read_case_file(SAMPLE / name)
        volumes, masks = (
            {key: array[..., first : first + 32] for key, array in arrays.items()}
            for arrays in (case.volumes, case.masks)
        )
        affine = case.affine_ras.copy()
        affine[:3, 3] += first * affine[:3, 2]
        (folder / name).parent.mkdir()
        write_case(folder / name, replace(case, volumes=volumes, masks=masks, affine_ras=affine))
    return folder


@EACH_RUN_ID
def test_the_training_config_has_all_properties_that_monai_asks_for(workflow, tmp_path, run_id):
    made = workflow("openkbp", "train.yaml", run_id=run_id, output_dir=str(tmp_path / "run"), **SMALL)
    has_all_properties(made)


def test_elsewhere_the_command_asks_for_the_bundle_root_in_one_sentence(tmp_path):
    ended = command("training", "--config_file", str(BUNDLE / "configs" / "train.yaml"), cwd=tmp_path)
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    assert "ConfigError: bundle_root: the bundle openkbp was not found" in ended.stderr
    assert "--bundle_root" in ended.stderr


@each_refused_option("openkbp")
def test_a_wrong_option_is_named_with_what_may_be_given(workflow, tmp_path, wrong, message):
    made = workflow("openkbp", "train.yaml", output_dir=str(tmp_path / "run"), **{**SMALL, **wrong})
    refused(made, message, ConfigError)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["ctan", "mtan", "hps", "stl"])
def test_training_evaluation_and_inference_leave_what_they_promise(run, tmp_path, cut, method):
    folder = tmp_path / "run"
    options = {**SMALL, "method": method, "datalists#sample_dir": str(cut), "output_dir": str(folder)}
    run("openkbp", "train.yaml", run_id="training", **options)
    metrics, drawn = ("dose_mae_volume", "oar_dice"), [f"predictions/pt_226/{name}.png" for name in ("overlay", "dvh")]
    check_run(folder, method, ("oar", "dose"), metrics, drawn)
    evaluated = run("openkbp", "train.yaml", "evaluate.yaml", run_id="evaluating", **options)
    assert evaluated.check_properties() == []
    check_evaluation(folder / "evaluation", cut / TEST_PATIENT)
    whole = method == "hps"  # without input: the bundle's own test patient
    places = {"run_dir": str(folder), "cache_dir": str(tmp_path / "cache")}
    places |= {} if whole else {"input": str(cut / TEST_PATIENT)}
    inferred = run("openkbp", "inference.yaml", run_id="inferring", kind="infer", **places)
    assert inferred.check_properties() == []
    check_geometry(folder / "inference", (SAMPLE if whole else cut) / TEST_PATIENT)


def check_evaluation(folder, patient):
    """See that all scores are there, and that the official one follows from the written prediction."""
    summary = json.loads((folder / "summary.json").read_text())["metrics"]
    assert {"dose_score", "dvh_score", "dose_score_complete", "oar_dice", "dose_mae_volume"} <= set(summary)
    (row,) = csv.DictReader((folder / "per_case.csv").open())
    assert row["case"] == "pt_232"
    assert {f"{roi}:{what}" for roi in ("Brainstem",) for what in ("D_0.1_cc:reference", "mean:prediction")} <= set(row)
    case = read_case_file(patient)
    written = read_sparse(folder / "openkbp" / "pt_232.csv", case.shape)
    expected = np.abs(written.astype(float) - case.volumes["dose"]).sum() / case.masks["dose_region"].sum()
    assert summary["dose_score"] == pytest.approx(expected, rel=1e-5)
    assert not written[~case.masks["dose_region"]].any()


def check_geometry(folder, patient):
    """See that NIfTI files lie where the patient lies."""
    case = read_case_file(patient)
    for name in ("dose", "Brainstem", "SpinalCord", "RightParotid", "LeftParotid", "ct"):
        image = nib.load(folder / "pt_232" / f"{name}.nii.gz")
        assert image.shape == case.shape
        assert np.allclose(image.affine, case.affine_ras, atol=1e-4)
    assert np.array_equal(np.asarray(nib.load(folder / "pt_232" / "ct.nii.gz").dataobj), case.volumes["ct"])
    assert (folder / "report.html").is_file()


@pytest.mark.slow
def test_evaluating_another_method_names_the_flag_to_pass(run, workflow, tmp_path, cut):
    options = {**SMALL, "datalists#sample_dir": str(cut), "output_dir": str(tmp_path / "run")}
    run("openkbp", "train.yaml", run_id="training", method="hps", **options)
    made = workflow("openkbp", "train.yaml", "evaluate.yaml", run_id="evaluating", method="ctan", **options)
    with pytest.raises(RuntimeError) as caught:
        made.initialize()
    assert "Pass --method hps" in str(find_ctan_error(caught.value))


@pytest.mark.slow
def test_contours_can_be_inputs_and_a_resumed_run_goes_on(run, tmp_path, cut):
    options = {**SMALL, "method": "hps", "inputs": "contours", "datalists#sample_dir": str(cut)}
    options["output_dir"] = str(tmp_path / "run")
    run("openkbp", "train.yaml", run_id="training", **options)
    first = torch.load(tmp_path / "run" / "model.pt", weights_only=True)
    assert first["encoder.stem.0.weight"].shape[1] == 11
    run("openkbp", "train.yaml", run_id="training", **{**options, "epochs": 2, "resume": "true"})
    epochs = json.loads((tmp_path / "run" / "metrics.json").read_text())["epochs"]
    assert [epoch["epoch"] for epoch in epochs] == [1, 2]
    assert not (tmp_path / "run.1").exists()


@pytest.mark.slow
def test_volumes_with_contours_are_trained_evaluated_and_predicted(run, tmp_path, cut):
    folder, options = tmp_path / "run", {**SMALL, "method": "hps", "datalists#sample_dir": str(cut)}
    options |= {"inputs": "contours", "spatial_dims": 3, "patch_size": [128, 128, 32], "batch_size": 1}
    options["output_dir"] = str(folder)
    run("openkbp", "train.yaml", run_id="training", **options)
    first = torch.load(folder / "model.pt", weights_only=True)["encoder.stem.0.weight"]
    assert first.shape[1:] == (11, 7, 7, 7)
    for name in ("inputs", "spatial_dims", "patch_size", "batch_size"):
        del options[name]  # of the run
    run("openkbp", "train.yaml", "evaluate.yaml", run_id="evaluating", **options)
    check_evaluation(folder / "evaluation", cut / TEST_PATIENT)
    places = {"run_dir": str(folder), "cache_dir": str(tmp_path / "cache"), "amp": AMP}
    run("openkbp", "inference.yaml", run_id="inferring", kind="infer", input=str(cut / TEST_PATIENT), **places)
    check_geometry(folder / "inference", cut / TEST_PATIENT)
    inferred, evaluated = (read_sparse(folder / place / "openkbp" / "pt_232.csv") for place in ANSWERS)
    assert np.array_equal(inferred, evaluated)
