from __future__ import annotations

import json
import logging
import shutil

import pydicom
import pytest

from ctan_monai.data.phantom import cohort as module
from ctan_monai.data.phantom import make_cohort
from ctan_monai.errors import DataError


@pytest.fixture
def make(grid, tmp_path):
    """Make a cohort on the small grid."""

    def call(patients=3, folder=tmp_path / "cohort", **settings):
        return make_cohort(folder, patients, **{"grid": grid, **settings})

    return call


def structures_of(folder):
    return {roi.ROIName for roi in pydicom.dcmread(folder / "RS.dcm").StructureSetROISequence}


def test_a_cohort_is_made_once_extended_and_says_that_it_is_synthetic(make, caplog):
    with caplog.at_level(logging.INFO):
        first = make(3)
    assert "SYNTHETIC cohort" in caplog.text
    assert first.made == 3
    assert first.patients == ("PHANTOM001", "PHANTOM002", "PHANTOM003")
    record = json.loads((first.folder / "cohort.json").read_text())
    assert "no real patients" in record["synthetic"]
    assert {"Rectum", "Femur_R"} <= structures_of(first.folder / "PHANTOM001")
    before = {path: path.stat().st_mtime_ns for path in first.folder.rglob("*.dcm")}

    assert make(3).made == 0
    shutil.rmtree(first.folder / "PHANTOM002")  # as after a kill
    (first.folder / ".PHANTOM002.abc").mkdir()
    again = make(4)
    assert again.made == 2
    assert sorted(path.name for path in again.folder.iterdir()) == [*again.patients, "cohort.json"]
    after = {path: path.stat().st_mtime_ns for path in first.folder.rglob("*.dcm")}
    assert all(after[path] == when for path, when in before.items() if "PHANTOM002" not in str(path))


def test_a_patient_depends_on_seed_and_number_only(make, tmp_path):
    one = make(3, tmp_path / "a").folder / "PHANTOM002"
    two = make(3, tmp_path / "b").folder / "PHANTOM002"
    other = make(3, tmp_path / "c", seed=1).folder / "PHANTOM002"
    for path in one.iterdir():
        assert path.read_bytes() == (two / path.name).read_bytes()
    assert (one / "CT.0020.dcm").read_bytes() != (other / "CT.0020.dcm").read_bytes()
    uids = {pydicom.dcmread(folder / "RD.dcm").SOPInstanceUID for folder in (one, two, other)}
    assert len(uids) == 2


@pytest.fixture
def without_making(monkeypatch):
    """For tests of what happens before a patient is made."""
    monkeypatch.setattr(module, "make_patient", None)


def record_of(folder, **changes):
    folder.mkdir()
    record = {
        "synthetic": "These are synthetic phantoms, no real patients.",
        "version": module.PHANTOM_VERSION,
        "seed": 0,
        **changes,
    }
    (folder / "cohort.json").write_text(json.dumps(record))


@pytest.mark.usefixtures("without_making")
def test_synthetic_patients_never_get_among_others(make, tmp_path):
    folder = tmp_path / "cohort"
    folder.mkdir()
    (folder / "real.dcm").write_text("a patient")
    with pytest.raises(DataError, match="no cohort of phantoms"):
        make()
    assert [path.name for path in folder.iterdir()] == ["real.dcm"]


@pytest.mark.usefixtures("without_making")
def test_another_cohort_in_the_folder_is_refused(make, tmp_path):
    record_of(tmp_path / "cohort", seed=7)
    with pytest.raises(DataError, match=r"another .*seed"):
        make()


@pytest.mark.usefixtures("without_making")
def test_a_file_in_the_way_is_said(make, tmp_path):
    (tmp_path / "cohort").write_text("")
    with pytest.raises(DataError, match="it is a file"):
        make()


def test_an_empty_folder_will_do(make, tmp_path):
    (tmp_path / "cohort").mkdir()
    assert make(1).made == 1


@pytest.mark.parametrize("text", ["{", "[1]", ""])
@pytest.mark.usefixtures("without_making")
def test_a_garbled_record_is_refused(make, tmp_path, text):
    (tmp_path / "cohort").mkdir()
    (tmp_path / "cohort" / "cohort.json").write_text(text)
    with pytest.raises(DataError, match="cannot be read"):
        make()


def test_fewer_patients_than_are_there_and_deleted_files_are_said(make):
    made = make(3)
    with pytest.raises(DataError, match="PHANTOM003"):
        make(2)
    (made.folder / "PHANTOM001" / "CT.0007.dcm").unlink()
    with pytest.raises(DataError, match=r"CT\.0007\.dcm"):
        make(3)
