"""`ctan-monai prepare dicom` and `ctan-monai verify`, run as a user runs them."""

import json

import pytest
from dicom_phantoms import BLADDER, PROSTATE, RECTUM, Patient

from ctan_monai.apps.main import app

SMALL = {"rows": 24, "columns": 30, "slices": 8, "spacing_mm": 6.0, "pixel_mm": (4.0, 4.2)}


@pytest.fixture
def export(tmp_path):
    """A folder of three patients, of whom one has no dose and one another prescription."""
    folder = tmp_path / "export"
    for number, gy in enumerate((60.0, 78.0, 60.0)):
        patient = Patient(patient_id=f"MRN-{number}", prescription_gy=gy, **SMALL)
        patient.write(folder / f"Doe{number}", **({"rtdose": None} if number == 2 else {}))
    return folder


@pytest.fixture
def prepare(run, export, tmp_path):
    return lambda *more: run(app, "prepare", "dicom", "--in", export, "--out", tmp_path / "out", *more)


def test_cases_are_prepared_and_the_console_says_what_was_not_and_why(prepare, run, tmp_path):
    code, stdout, stderr = prepare("--workers", 1)
    assert code == 0, stderr
    said = " ".join(stdout.split())
    assert "Accepted cases (in the folder: 24 CT, 2 RTDOSE, 3 RTPLAN, 3 RTSTRUCT)" in said
    assert "no dose belongs" in said
    assert "Mixed prescriptions in Gy: 1 x 60, 1 x 78." in said
    assert str(tmp_path / "out") in stdout
    assert "MRN" not in stdout + stderr
    assert "Doe" not in stdout + stderr
    assert "preparing" in stderr  # the bar
    content = json.loads((tmp_path / "out" / "datalist.json").read_text())
    assert [len(content[split]) for split in ("train", "validation", "test")] == [1, 1, 0]

    code, stdout, _ = run(app, "verify", tmp_path / "out")
    assert (code, stdout) == (0, "2 cases are whole.\n")


def test_the_console_names_the_files_at_fault(run, tmp_path):
    for number in range(2):
        patient = Patient(patient_id=f"MRN-{number}", **SMALL)
        images = patient.ct()
        if number:
            images[5].PixelSpacing = [9.0, 9.0]
        paths = patient.write(tmp_path / "export" / f"p{number}", ct=images)
    paths[5].rename(paths[5].with_name("the slice [1]"))
    (tmp_path / "export" / "cut.dcm").write_bytes(b"")
    (tmp_path / "export" / "notes.txt").write_text("see above")
    code, stdout, stderr = run(app, "prepare", "dicom", "--in", tmp_path / "export", "--out", tmp_path / "out")
    assert code == 0, stderr
    assert "the slice [1]: CT: in the CT series 1 of 8 images have another pixel spacing (PixelSpacing)." in stdout
    assert "cut.dcm: file: its name is one of DICOM, but it holds nothing." in stdout
    assert "1 files look like DICOM and could not be read: a CT may lack slices." in stdout
    assert "1 other files are not DICOM, and were passed over." in stdout


def test_options_of_the_command_reach_the_cases(prepare, export, tmp_path):
    names = tmp_path / "names.yaml"
    names.write_text("Anorectum: [rectum]\n")
    code, _, stderr = prepare(
        *("--names", names, "--structures", "Anorectum,Bladder", "--need", "structures", "--prescription", 62),
        *("--normalize-to", 60, "--split", "1,0,0", "--pixel-mm", 5, "--seed", 3, "--holes", "or", "--workers", 1),
        *("--key", tmp_path / "key", "--identities", tmp_path / "who.csv"),
    )
    assert code == 0, stderr
    content = json.loads((tmp_path / "out" / "datalist.json").read_text())
    assert len(content["train"]) == 3
    assert content["prescriptions_gy"] == {"62": 2, "unknown": 1}
    assert content["options"]["holes"] == "or"
    rows = json.loads((tmp_path / "out" / "table.json").read_text())
    assert all(set(row["facts"]["structures"]) == {"Anorectum", "Bladder"} for row in rows)
    assert all(row["spacing_mm"] == [5.0, 5.0, 6.0] for row in rows)
    assert "MRN-1" in (tmp_path / "who.csv").read_text()
    assert (tmp_path / "key").exists()


def test_nifti_is_written_for_other_tools(run, tmp_path):
    structures = {"rectum": [RECTUM], "Blase (voll)": [BLADDER], "CTV": [PROSTATE]}
    Patient(structures=structures, **SMALL).write(tmp_path / "export")
    out = tmp_path / "nifti"
    code, _, stderr = run(app, "prepare", "dicom", "--in", tmp_path / "export", "--out", out, "--format", "nifti")
    assert code == 0, stderr
    (place,) = out.glob("pt_*")
    found = {path.name for path in place.glob("*.nii.gz")}
    assert found == {"ct.nii.gz", "dose.nii.gz", "rectum.nii.gz", "Blase_voll.nii.gz", "CTV.nii.gz"}
    assert run(app, "verify", out)[0] == 0


def test_verify_leaves_with_1_and_names_what_is_damaged(prepare, run, tmp_path):
    prepare("--workers", 1)
    damaged = next((tmp_path / "out" / "cases").iterdir())
    damaged.write_bytes(b"")
    code, stdout, _ = run(app, "verify", tmp_path / "out")
    assert code == 1
    assert f"cases/{damaged.name} has changed since it was written" in stdout
    assert "1 problems in 2 cases. Prepare the data again." in stdout


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--format", "zip"), "format: 'zip' is unknown"),
        (("--split", "a,b"), "split: 'a,b' was found"),
        (("--boost", "add"), "boost: 'add' is unknown"),
        (("--need", "ct"), "need"),
    ],
)
def test_what_cannot_be_meant_is_one_line(prepare, options, reason):
    code, _, stderr = prepare(*options)
    assert code == 2
    assert stderr.startswith(f"Error: {reason}")
    assert stderr.count("\n") == 1


def test_a_folder_without_dicom_is_one_line(run, tmp_path):
    (tmp_path / "empty").mkdir()
    code, _, stderr = run(app, "prepare", "dicom", "--in", tmp_path / "empty", "--out", tmp_path / "out")
    assert code == 2
    assert "none of its 0 files is a readable DICOM object" in stderr


def test_help_shows_how_to_call_it(run):
    code, stdout, _ = run(app, "prepare", "dicom", "--help")
    assert code == 0
    assert "ctan-monai prepare dicom --in EXPORT --out PREPARED" in stdout
    assert "--identities" in stdout
