"""The file at fault is named where the user looks, and nowhere among what is given away."""

import csv

import pytest
from dicom_phantoms import Patient

from ctan_monai.data.datasets.dicom_rt.prepare import prepare_dicom
from ctan_monai.errors import DataError

SMALL = {"rows": 24, "columns": 30, "slices": 8, "spacing_mm": 6.0, "pixel_mm": (4.0, 4.2)}


def run(folder, out, **options):
    return prepare_dicom(folder, out, workers=1, progress=False, **options)


def test_the_file_at_fault_is_named_to_the_user_and_in_nothing_that_is_given_away(tmp_path, caplog):
    """Names of files may tell who somebody is: the error and the list of identities have them, the folder has not."""
    for name in ("Doe_2", "Doe_1"):
        patient = Patient(patient_id=name, **SMALL)
        images = patient.ct()
        if name == "Doe_1":
            del images[3].RescaleSlope
        paths = patient.write(tmp_path / "in" / name, ct=images)
    paths[3].rename(tmp_path / "in" / "Doe_1" / "Doe_the_slice")
    (tmp_path / "in" / "Doe_2" / "Doe_empty.dcm").write_bytes(b"")
    result = run(tmp_path / "in", tmp_path / "out", identities=tmp_path / "who.csv")
    rows = {row.what if row.what == "file" else row.status: row for row in result.rows}
    assert rows["rejected"].source == "Doe_1/Doe_the_slice"
    assert "no RescaleSlope" in rows["rejected"].reason
    assert f"InstanceNumber {images[3].InstanceNumber}" in rows["rejected"].reason
    assert (rows["file"].source, rows["file"].status) == ("Doe_2/Doe_empty.dcm", "left out")
    assert all(row.remedy for row in result.rows if row.status != "accepted")
    who = {row["folder or file"]: row["reason"] for row in csv.DictReader((tmp_path / "who.csv").open())}
    assert "no RescaleSlope" in who["Doe_1/Doe_the_slice"]
    assert "it holds nothing" in who["Doe_2/Doe_empty.dcm"]
    assert "Doe" not in caplog.text
    written = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert {"table.csv", "table.json", "manifest.json"} <= {path.name for path in written}
    assert not any(b"Doe" in path.read_bytes() for path in written)
    with pytest.raises(DataError, match=r"Files: Doe_the_slice\."):
        run(tmp_path / "in" / "Doe_1", tmp_path / "none")


def test_a_damaged_file_beside_a_ct_is_noted_with_its_case(tmp_path):
    paths = Patient(**SMALL).write(tmp_path / "in")
    (paths[0].parent / "cut").write_bytes(paths[0].read_bytes()[:180])
    (row,) = run(tmp_path / "in", tmp_path / "out").accepted
    assert "1 files beside its images look like DICOM and cannot be read; is the CT whole?" in row.facts["notes"]
