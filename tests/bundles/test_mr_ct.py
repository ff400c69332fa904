"""The bundle MR to CT on small synthetic patients and on real pairs: training, evaluation, inference, refusals."""

import json
import logging
import shutil
import subprocess
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from bundle_kit import EACH_RUN_ID, check_run, each_refused_option, has_all_properties, refused, start
from mr_dicom import DicomPatient
from run_kit import same

from ctan_monai.data.datasets.mr_ct.synthetic import write_pelvis_pairs
from ctan_monai.data.phantom import PhantomGrid
from ctan_monai.engines import read_data_record
from ctan_monai.engines.runs.torch_file import load_checked
from ctan_monai.errors import ConfigError, DataError, find_ctan_error

ROOT = Path(__file__).parents[2]
BUNDLE = ROOT / "bundles" / "mr_ct"
REAL = ROOT.parent / "shared" / "data" / "mr_ct"
OVERLAY = ("train.yaml", "evaluate.yaml")
GRID = PhantomGrid(rows=40, columns=60, slices=16, row_mm=7.9, column_mm=7.6, slice_mm=6.0)
PATIENTS = 4
SMALL = {"epochs": 1, "batch_size": 8, "patch_size": [40, 56], "layer_scale": 0.25, "phantoms": PATIENTS}
LABELS = ("Prostate", "Bladder", "Rectum", "Femur_L", "Femur_R")
FIGURES = ("ct_mae_region", "organs_dice", *(f"organs_dice_{label}" for label in LABELS))


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    """A cache in which the synthetic patients are already, fewer and coarser than the bundle draws them."""
    folder = tmp_path_factory.mktemp("mr_ct")
    write_pelvis_pairs(folder / "synthetic", PATIENTS, grid=GRID)
    return str(folder)


def check_volumes(folder, mr):
    """See that the synthetic CT and the masks are in HU and on the grid of the MR's own file."""
    wanted = nib.load(mr)
    found = {path.name.removesuffix(".nii.gz"): nib.load(path) for path in folder.glob("*.nii.gz")}
    assert set(found) == {"ct", "mr", "organs", *LABELS}
    for image in found.values():
        assert image.shape == wanted.shape
        assert np.allclose(image.affine, wanted.affine, atol=1e-3)
    assert np.array_equal(found["mr"].dataobj, wanted.dataobj)
    ct = np.asarray(found["ct"].dataobj)
    assert ct[0, 0, 0] == -1000  # a corner of the image is air
    assert (ct != -1000).mean() == pytest.approx(0.33, abs=0.2)
    numbers = np.asarray(found["organs"].dataobj)
    for number, label in enumerate(LABELS, start=1):
        assert np.array_equal(numbers == number, np.asarray(found[label].dataobj) > 0)


@EACH_RUN_ID
def test_the_training_config_has_all_properties_that_monai_asks_for(workflow, tmp_path, cache, run_id):
    made = workflow("mr_ct", "train.yaml", run_id=run_id, output_dir=str(tmp_path / "run"), **SMALL, cache_dir=cache)
    has_all_properties(made)


@each_refused_option("mr_ct")
def test_a_wrong_option_is_named_with_what_may_be_given(workflow, tmp_path, cache, wrong, message):
    given = {**SMALL, "cache_dir": cache, "output_dir": str(tmp_path / "run"), **wrong}
    refused(workflow("mr_ct", "train.yaml", **given), message, ConfigError, DataError)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("sfg", {}),
        ("sfg", {"grouping": "single"}),
        ("sfg", {"grouping": "shared"}),
        ("sfg", {"grouping": "mask"}),
        ("sfg", {"grouping": "constant"}),
        ("ctan", {"encoder": "resnet18"}),
        ("mtan", {"encoder": "resnet18"}),
        ("hps", {"encoder": "resnet18"}),
        ("stl", {"encoder": "resnet18"}),
    ],
)
def test_training_evaluation_and_inference_on_synthetic_patients(run, tmp_path, cache, caplog, method, options):
    folder = tmp_path / "run"
    given = {**SMALL, "method": method, **options, "cache_dir": cache, "output_dir": str(folder)}
    with caplog.at_level(logging.WARNING):
        run("mr_ct", "train.yaml", run_id="training", **given)
    assert "the data are SYNTHETIC" in caplog.text
    assert read_data_record(folder)["synthetic"]
    names = json.loads((folder / "datalist.json").read_text())
    independent = method == "stl" or options.get("grouping") == "single"
    image = f"predictions/{names['validation'][0]}/overlay.png"
    check_run(folder, method, ("ct", "organs"), FIGURES, [image], independent)
    kept = {name: given[name] for name in ("method", "cache_dir", "output_dir")}
    evaluated = run("mr_ct", *OVERLAY, run_id="evaluating", **kept, **options)
    assert evaluated.check_properties() == []
    (case,) = names["test"]
    summary = json.loads((folder / "evaluation" / "summary.json").read_text())["metrics"]
    assert {*FIGURES, "ct_psnr_body", "ct_mae_bones", "ct_psnr_organs", "ct_ssim_body", "ct_mae_Bladder"} <= set(
        summary
    )
    assert summary["ct_mae_body"] == pytest.approx(summary["ct_mae_region"])
    source = next(Path(cache).glob("synthetic-*-4")) / case
    check_volumes(folder / "evaluation" / case, source / "T2.nii.gz")
    check_error(folder / "evaluation", case, source, summary["ct_mae_bones"])
    given = {"method": method, "run_dir": str(folder), "cache_dir": cache, "input": str(source / "T2.nii.gz")}
    inferred = run("mr_ct", "inference.yaml", run_id="inferring", kind="infer", **given)
    assert inferred.check_properties() == []
    check_volumes(folder / "inference" / case, source / "T2.nii.gz")
    check_series(folder / "inference" / case)
    if method == "sfg" and not options:
        check_dicom_to_dicom(run, tmp_path, source / "T2.nii.gz", given)
    assert (folder / "inference" / case / "overlay.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_a_killed_run_resumes_groupings_and_temperature_to_the_bit(run, tmp_path, cache):
    given = {**SMALL, "epochs": 3, "grouping_speed": 50.0, "cache_dir": cache}
    run("mr_ct", "train.yaml", run_id="training", **given, output_dir=str(tmp_path / "whole"))
    part = tmp_path / "part"
    flags = [text for name, value in {**given, "output_dir": part}.items() for text in (f"--{name}", str(value))]
    config = ["training", "--config_file", "bundles/mr_ct/configs/train.yaml"]
    line = [sys.executable, "-m", "monai.bundle", "run", *config, *flags]
    with subprocess.Popen(line, cwd=ROOT, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None and not (part / "last.pt").is_file():
            time.sleep(0.05)
        process.kill()
    assert 1 <= load_checked(part / "last.pt")["epoch"] < 3
    run("mr_ct", "train.yaml", run_id="training", **given, resume=True, output_dir=str(part))
    expected, found = (load_checked(tmp_path / name / "last.pt") for name in ("whole", "part"))
    assert same(found["network"], expected["network"]) is None
    assert same(found["states"]["optimizer"], expected["states"]["optimizer"]) is None
    assert found["network"]["trunk.iteration"] > 3
    groupings = [(tmp_path / name / "groupings.csv").read_text() for name in ("whole", "part")]
    assert groupings[0] == groupings[1]


def check_dicom_to_dicom(run, tmp_path, mr, given):
    """See that the same MR as DICOM gets the same CT, in its own frame of reference."""
    image, patient = nib.load(mr), DicomPatient(tmp_path / "dicom")
    patient.write("MR", np.asarray(image.dataobj), image.affine)
    out = tmp_path / "from_dicom"
    run("mr_ct", "inference.yaml", run_id="inferring", kind="infer", **given | {"input": str(patient.folder)},
        output_dir=str(out))  # fmt: skip
    (case,) = [path for path in out.iterdir() if path.is_dir()]
    check_series(case)
    of_nifti = Path(given["run_dir"]) / "inference" / mr.parent.name
    again, first = (nib.load(folder / "ct.nii.gz") for folder in (case, of_nifti))
    assert np.allclose(again.affine, first.affine, atol=1e-3)
    assert np.abs(np.asarray(again.dataobj) - np.asarray(first.dataobj)).max() < 0.1
    made = pydicom.dcmread(case / "dicom" / "CT.0001.dcm")
    assert made.FrameOfReferenceUID == patient.frame_uid
    assert made.PatientID == patient.patient_id
    assert made.SourceImageSequence[0].ReferencedSOPClassUID == "1.2.840.10008.5.1.4.1.1.4"


def check_series(folder):
    """See that the DICOM series has the HU of the NIfTI file, to rounding, in any order of voxels."""
    image = sitk.ReadImage(sorted(str(path) for path in (folder / "dicom").glob("CT.*.dcm")))
    nifti = nib.load(folder / "ct.nii.gz")
    sizes = np.array(nifti.header.get_zooms())[np.abs(np.linalg.inv(nifti.affine)[:3, :3]).argmax(0)]
    assert image.GetSpacing() == pytest.approx(sizes, rel=1e-4)
    expected = np.rint(np.sort(np.asarray(nifti.dataobj), axis=None))
    assert np.array_equal(np.sort(sitk.GetArrayFromImage(image), axis=None), expected)


def check_error(folder, case, source, expected):
    """See that the error in bones is that of the written CT against the real one."""
    real, predicted = (
        np.asarray(nib.load(path).dataobj) for path in (source / "CT.nii.gz", folder / case / "ct.nii.gz")
    )
    inside = (real > 200) & (predicted != -1000)
    assert np.abs(predicted - real)[inside].mean() == pytest.approx(expected, rel=0.02)


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.skipif(not REAL.is_dir(), reason="needs ../shared/data")
def test_real_pairs_are_trained_on_and_predicted_for(run, tmp_path, caplog):
    folder = tmp_path / "run"
    options = {
        "dataset_dir": str(REAL),
        "labels": ["GTV"],
        "pixel_mm": 2.0,
        "patch_size": [32, 32],
        "layer_scale": 0.25,
    }
    options |= {"cache_dir": str(tmp_path / "cache"), "output_dir": str(folder)}
    with caplog.at_level(logging.INFO):
        run("mr_ct", "train.yaml", run_id="training", epochs=1, batch_size=16, slices="labeled", **options)
    assert "SYNTHETIC" not in caplog.text
    assert "STS_008: CT_image.nii.gz, (141, 137, 51) voxels" in caplog.text
    assert not read_data_record(folder)["synthetic"]
    kept = {name: options[name] for name in ("cache_dir", "output_dir")}
    run("mr_ct", *OVERLAY, run_id="evaluating", **kept)
    metrics = json.loads((folder / "evaluation" / "summary.json").read_text())["metrics"]
    assert 0 < metrics["ct_mae_body"] < 2000
    assert 0 <= metrics["organs_dice_GTV"] <= 1
    run("mr_ct", "inference.yaml", run_id="inferring", kind="infer", run_dir=str(folder), input=str(REAL / "STS_008"),
        cache_dir=str(tmp_path / "cache"))  # fmt: skip
    ct, mr = (nib.load(path) for path in (folder / "inference/STS_008/ct.nii.gz", REAL / "STS_008/MR_T1_image.nii.gz"))
    assert ct.shape == mr.shape
    assert np.allclose(ct.affine, mr.affine, atol=1e-3)


def test_a_patient_without_a_ct_stops_before_anything_is_trained(workflow, tmp_path, cache):
    root = shutil.copytree(next(Path(cache).glob("synthetic-*-4")), tmp_path / "data")
    (root / "synthetic_002" / "CT.nii.gz").unlink()
    given = {
        **SMALL,
        "dataset_dir": str(root),
        "cache_dir": str(tmp_path / "cache"),
        "output_dir": str(tmp_path / "run"),
    }
    with pytest.raises((DataError, RuntimeError)) as caught:
        start(workflow("mr_ct", "train.yaml", run_id="training", **given))
    assert "(case synthetic_002): there is an MR (T2.nii.gz) and no CT" in str(find_ctan_error(caught.value))
