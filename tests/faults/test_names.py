"""Names that try to leave their folder, run in a spreadsheet or tell who somebody is."""

import csv
import logging
import os
import re

import pytest
from dicom_phantoms import BLADDER, RECTUM, Patient
from run_kit import Run

from ctan_monai.data.cases.case import check_case_id
from ctan_monai.data.datasets.dicom_rt.prepare import prepare_dicom
from ctan_monai.errors import DataError
from ctan_monai.files.csv_cells import csv_text, safe_cell

pytestmark = pytest.mark.faults
SMALL = {"rows": 24, "columns": 30, "slices": 8, "spacing_mm": 6.0, "pixel_mm": (4.0, 4.2)}
HOSTILE = {
    "upwards": "../../x",
    "absolute": "/evil/ctan",
    "nul": "a\0b",
    "long": "x" * 5000,
    "right to left": "pt_\u202egnp.exe",
    "formula": "=1+1",
    "folder": "..",
    "hidden": ".ssh",
    "line": "a\nb",
    "device": "CON:",
    "home": "~root",
}


@pytest.mark.promise(6, "../../x, absolute paths, NUL, 5 kB, right-to-left marks and the like are no ids of cases")
@pytest.mark.parametrize("name", [name for name in HOSTILE if name != "hidden"])
def test_hostile_names_are_no_ids(name):
    with pytest.raises(DataError, match="a case id is") as caught:
        check_case_id(HOSTILE[name])
    assert len(str(caught.value)) < 400
    assert "\u202e" not in str(caught.value)
    assert "\0" not in str(caught.value)


@pytest.mark.promise(6, "what hostile patients and structures become stays in its folder, and their names out of it")
@pytest.mark.parametrize("kind", ["cache", "nifti"])
def test_patients_and_structures_with_hostile_names_stay_in_their_folder(tmp_path, kind, caplog):
    home = tmp_path / "a" / "b" / "c"
    names = [name if name != HOSTILE["absolute"] else str(tmp_path / "evil") for name in HOSTILE.values()]
    structures = {"Bladder": [BLADDER], **{name.replace("\0", "_")[:64]: [RECTUM] for name in names}}
    for number, name in enumerate(names[:: 1 if kind == "cache" else 4]):
        patient = Patient(patient_id=name[:2000].replace("\n", " "), structures=structures, **SMALL)
        patient.write(home / "in" / str(number))
    before = {path for path in tmp_path.rglob("*") if (home / "in") not in path.parents}
    with caplog.at_level(logging.DEBUG):
        prepared = prepare_dicom(home / "in", home / "out", kind=kind, workers=1, progress=False)
    assert prepared.accepted
    made = {path for path in tmp_path.rglob("*") if (home / "in") not in path.parents} - before
    assert all(path == home / "out" or (home / "out") in path.parents for path in made)
    assert all(re.fullmatch(r"[A-Za-z0-9._+-]{1,80}", path.name) for path in made)
    assert not any(path.is_symlink() for path in made)
    texts = [path.read_text(encoding="utf-8") for path in (home / "out").glob("*.json")]
    assert "Doe^" not in "".join(texts) + caplog.text


@pytest.mark.promise(6, "no cell of the tables of prepare can be taken for a formula")
def test_no_cell_of_a_table_of_prepared_patients_is_a_formula(tmp_path):
    structures = {"=HYPERLINK(1)": [BLADDER], "Rectum": [RECTUM], "+1": [BLADDER]}
    Patient(patient_id="=1+1", structures=structures, **SMALL).write(tmp_path / "in" / "-1")
    Patient(patient_id="@SUM(1)", structures={"=2": [BLADDER]}, **SMALL).write(tmp_path / "in" / "=3")
    prepare_dicom(
        tmp_path / "in", tmp_path / "out", workers=1, progress=False, identities=tmp_path / "who.csv", kind="nifti"
    )
    found = []
    for path in (tmp_path / "out" / "table.csv", tmp_path / "who.csv"):
        with path.open(newline="", encoding="utf-8") as file:
            found += [cell for row in csv.reader(file) for cell in row]
    assert [cell for cell in found if cell.startswith(("=", "+", "-", "@", "\t", "\r"))] == []
    assert {"'=1+1", "'@SUM(1)"} <= set(found)


def test_numbers_stay_numbers_and_whatever_starts_a_formula_does_not():
    assert [safe_cell(value) for value in (-1.5, 3, None, "a-b", "")] == [-1.5, 3, None, "a-b", ""]
    for start in "=+-@\t\r\n":
        assert safe_cell(start + "x") == "'" + start + "x"


@pytest.mark.promise(6, "every table that the package writes goes through the check for formulas")
def test_every_module_that_writes_a_table_makes_its_cells_safe(repository, record):
    writers = []
    for path in sorted((repository / "ctan_monai").rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        if re.search(r"csv\.(writer|DictWriter)|\.to_csv\(|csv_text\(", text):
            writers.append(path.name)
            by_hand = re.search(r"csv\.(writer|DictWriter)|\.to_csv\(", text)
            assert not by_hand or "safe_cell" in text or "synthetic" in text.lower(), path
    record(f"{len(writers)} modules write tables")
    assert {"table.py", "prepare.py", "batch_parts.py", "case_metrics_writer.py"} <= set(writers)
    assert csv_text(["=a"], [["@b", -1.0]]) == "'=a\n'@b,-1.0\n"


@pytest.mark.promise(6, "a checkpoint, the best model and the metrics of a run name no case")
def test_what_a_training_leaves_names_no_case(tmp_path):
    run = Run(tmp_path, epochs=1)
    run.data[0]["case"] = "Doe_John_19500101"
    Run.go(run)
    assert sorted(os.listdir(tmp_path)) == ["last.pt", "metrics.json", "model.pt"]
    for name in os.listdir(tmp_path):
        content = (tmp_path / name).read_bytes()
        assert b"Doe" not in content
        assert not re.search(rb"pt_\d", content)
