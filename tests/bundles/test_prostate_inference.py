"""The prostate bundle's inference, from a clinic's CT to DICOM, as its config has it."""

import csv
import json
import re
from pathlib import Path

import numpy as np
import pydicom
import pytest
import torch
from dicom_phantoms import Patient
from dicom_validity import errors_of
from known_anatomy import write_ct

from ctan_monai.engines.runs.data_record import write_data_record
from ctan_monai.engines.runs.run_record import write_run
from ctan_monai.engines.runs.torch_file import save_atomic
from ctan_monai.errors import find_ctan_error

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "bundles" / "prostate" / "configs" / "train.yaml"
SMALL = {"method": "hps"}
FILES = {"RS.dcm", "RP.dcm", "RD.dcm", "SEG.dcm"}


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    """A run whose network answers the same everywhere: rectum, no other structure, and 40 Gy."""
    from monai.bundle import ConfigParser

    parser = ConfigParser()
    parser.read_config(str(CONFIG))
    parser.update({**SMALL, "encoder": "resnet18", "device": "cpu"})
    network = parser.get_parsed_content("network_def")
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if ".head." in name:
                parameter.zero_()
            if name.endswith("oar.head.bias"):
                parameter += torch.tensor([2.0, -2, -2, -2, -2])
            if name.endswith("dose.head.bias"):
                parameter += 0.5
    folder = tmp_path_factory.mktemp("run")
    write_run(network, folder)
    save_atomic(network.state_dict(), folder / "model.pt")
    (folder / "settings.json").write_text(json.dumps({"pixel_mm": 3.0}))
    doses = {"prescriptions_gy": {"60": 3}, "normalized_to_gy": None}
    write_data_record(folder, {"synthetic": True, "cases": {"train": 1}, **doses})
    return folder


def test_a_patients_ct_comes_back_as_dicom_with_a_page_to_look_at(run, run_dir, tmp_path):
    patient = Patient(position="HFP", rows=70, columns=66, slices=8, pixel_mm=(1.7, 1.5))
    write_ct(patient, tmp_path / "in")
    out = tmp_path / "out"
    options = {**SMALL, "run_dir": str(run_dir), "cache_dir": str(tmp_path / "cache"), "output_dir": str(out)}
    made = run("prostate", "inference.yaml", run_id="inferring", kind="infer", input=str(tmp_path / "in"), **options)
    assert made.check_properties() == []
    (case,) = {path.name for path in out.iterdir() if path.is_dir()} - {"report"}
    assert {path.name for path in (out / case).iterdir()} == FILES
    for name in FILES:
        assert errors_of(out / case / name) == []
    dose = pydicom.dcmread(out / case / "RD.dcm")
    assert dose.pixel_array.shape == (8, 70, 66)
    np.testing.assert_allclose(dose.pixel_array * float(dose.DoseGridScaling), 40.0, atol=1e-4)
    assert np.allclose(dose.ImageOrientationPatient, [-1, 0, 0, 0, -1, 0])
    structures = pydicom.dcmread(out / case / "RS.dcm")
    assert [roi.ROIName for roi in structures.StructureSetROISequence] == ["Rectum"]
    assert "Trained on 1 SYNTHETIC phantoms, no patients; prescription 60 Gy" in structures.StructureSetDescription
    rows = {row["structure"]: row for row in csv.DictReader((out / "written.csv").open())}
    assert {name: row["status"] for name, row in rows.items()} == {
        "Rectum": "found", "Bladder": "empty", "Femur_L": "empty", "Femur_R": "empty", "CTV": "empty",
    }  # fmt: skip
    assert float(rows["Rectum"]["volume_cc"]) == pytest.approx(8 * 70 * 66 * 1.7 * 1.5 * 2.5 / 1000, abs=1e-3)
    assert float(rows["Rectum"]["mean_gy"]) == pytest.approx(40, abs=1e-3)
    assert "data:image/png" in (out / "report" / "report.html").read_text()
    assert json.loads((out / "written.json").read_text())["model"] == "prostate hps resnet18"


@pytest.mark.slow
def test_without_input_a_synthetic_patient_goes_the_same_way_and_a_second_run_keeps_the_first(run, run_dir, tmp_path):
    options = {**SMALL, "run_dir": str(run_dir), "cache_dir": str(tmp_path / "cache")}
    options["output_dir"] = str(tmp_path / "out")
    for _ in range(2):
        run("prostate", "inference.yaml", run_id="inferring", kind="infer", **options)
    for folder in (tmp_path / "out", tmp_path / "out.1"):
        entry = json.loads((folder / "written.json").read_text())["cases"][0]
        assert entry["synthetic"] is True
        made = pydicom.dcmread(folder / entry["files"]["rtdose"])
        assert made[0x0008001C].value == "YES"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"input": "nowhere"}, "there is no such folder"),
        ({"method": "mtan"}, "was trained with --method hps"),
        ({"encoder": "resnet50"}, "was trained with --encoder resnet18"),
        ({"formats": ["pdf"]}, "expected a list of some of"),
        ({"pixel_mm": "wide"}, "pixel_mm: 'wide' was found. Remedy: Give a positive number"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_predicted(run, run_dir, tmp_path, change, message):
    write_ct(Patient(rows=32, columns=32, slices=3), tmp_path / "in")
    options = {**SMALL, "run_dir": str(run_dir), "cache_dir": str(tmp_path / "cache"), "input": str(tmp_path / "in")}
    with pytest.raises(Exception) as caught:  # noqa: PT011  MONAI wraps ours
        run("prostate", "inference.yaml", kind="infer", output_dir=str(tmp_path / "out"), **{**options, **change})
    assert re.search(message, str(find_ctan_error(caught.value)))
    assert not list((tmp_path / "out").glob("*/*.dcm"))


def test_without_a_trained_run_it_is_said_what_to_do(run, tmp_path):
    with pytest.raises(Exception) as caught:  # noqa: PT011  MONAI wraps ours
        run("prostate", "inference.yaml", kind="infer", run_dir=str(tmp_path), input=str(tmp_path), **SMALL)
    assert "there is no trained network. Remedy: Train first" in str(find_ctan_error(caught.value))
