"""A folder of patients becomes cases, a list and a table; again after a kill; and tells nobody's name."""

import contextlib
import csv
import json
import logging
import multiprocessing
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from dicom_phantoms import Patient, dose_at, save_all
from pydicom import dcmread

from ctan_monai.data.cases.cache import read_case_file
from ctan_monai.data.datasets.dicom_rt.manifest import verify_prepared
from ctan_monai.data.datasets.dicom_rt.prepare import prepare_dicom
from ctan_monai.data.dicom.read.options import DicomOptions
from ctan_monai.errors import ConfigError, DataError

SMALL = {"rows": 24, "columns": 30, "slices": 8, "spacing_mm": 6.0, "pixel_mm": (4.0, 4.2)}


def write_cohort(folder, count=5):
    """Write patients, the last without a dose, and things between them."""
    patients = [Patient(patient_id=f"MRN-{number}", **SMALL) for number in range(count)]
    for number, patient in enumerate(patients):
        patient.write(folder / f"Doe_{number}", seed=number, **({"rtdose": None} if number == count - 1 else {}))
    (folder / "readme.txt").write_text("not DICOM")
    return patients


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    folder = tmp_path_factory.mktemp("export")
    return folder, write_cohort(folder)


@pytest.fixture(scope="module")
def prepared(cohort, tmp_path_factory):
    out = tmp_path_factory.mktemp("prepared") / "out"
    return out, prepare_dicom(cohort[0], out, workers=1, progress=False)


def run(folder, out, **options):
    return prepare_dicom(folder, out, workers=1, progress=False, **options)


def test_cases_are_listed_by_split_and_can_be_read(prepared, cohort):
    out, result = prepared
    content = json.loads((out / "datalist.json").read_text())
    items = [item for split in ("train", "validation", "test") for item in content[split]]
    assert len(items) == len(result.accepted) == 4
    assert content["prescriptions_gy"] == {"60": 4}
    assert content["synthetic"] is False
    for item in items:
        case = read_case_file(out / item["file"])
        assert case.case == item["case"]
        assert case.meta["patient"] == item["patient"]
        assert set(case.masks) == {"Rectum", "Bladder", "Femur_L", "Femur_R", "CTV", "dose_region"}
        points = Patient.points(case.shape, case.affine_ras)
        known = case.masks["dose_region"]
        np.testing.assert_allclose(case.volumes["dose"][known], dose_at(points)[known], atol=1e-4)


def test_the_table_says_why_a_patient_was_not_accepted(prepared):
    out, result = prepared
    rows = list(csv.DictReader((out / "table.csv").open()))
    assert len(rows) == len(json.loads((out / "table.json").read_text())) == 5
    (rejected,) = [row for row in rows if row["status"] == "rejected"]
    assert rejected["reason"] == "no dose belongs to this CT series."
    assert "--need" in rejected["remedy"]
    accepted = next(row for row in rows if row["status"] == "accepted")
    assert accepted["structures"] == "Rectum, Bladder, Femur_L, Femur_R, CTV"
    assert accepted["prescription_gy"] == "60.0"
    assert accepted["split"] in ("train", "validation", "test")
    assert (result.found["CT"], result.others, result.unreadable) == (40, 1, 0)


@pytest.mark.promise(4, "all cases of a patient are in one split")
def test_all_cases_of_a_patient_are_in_one_split(tmp_path):
    for number in range(6):
        patient = Patient(patient_id=f"MRN-{number // 2}", **SMALL)
        patient.write(tmp_path / "in" / str(number))
    rows = run(tmp_path / "in", tmp_path / "out").accepted
    assert len(rows) == 6
    by_patient = {}
    for row in rows:
        by_patient.setdefault(row.patient, set()).add(row.split)
    assert len(by_patient) == 3
    assert all(len(splits) == 1 for splits in by_patient.values())
    assert {split for splits in by_patient.values() for split in splits} == {"train", "validation", "test"}


@pytest.mark.promise(6, "nothing that is written or logged names a patient")
def test_nothing_that_is_written_or_logged_names_a_patient(cohort, tmp_path, caplog):
    folder, patients = cohort
    caplog.set_level(logging.DEBUG)
    run(folder, tmp_path / "out")
    run(folder, tmp_path / "nifti", kind="nifti")
    secrets = [each for patient in patients for each in (patient.patient_id, patient.study_uid, patient.series_uid)]
    secrets += [uid for patient in patients for uid in (patient.frame_uid, patient.struct_uid, *patient.ct_uids)]
    secrets += ["Doe"]
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) > 40
    for secret in secrets:
        assert secret not in caplog.text
        for path in written:
            assert secret not in str(path.relative_to(tmp_path))
            if not path.name.endswith(".gz"):
                assert secret.encode() not in path.read_bytes(), path


@pytest.mark.promise(6, "who is who is written only where it was asked for")
def test_who_is_who_is_written_only_where_it_was_asked_for(cohort, tmp_path):
    folder, patients = cohort
    result = run(folder, tmp_path / "out", identities=tmp_path / "who.csv")
    rows = list(csv.DictReader((tmp_path / "who.csv").open()))
    assert {row["PatientID"] for row in rows} == {patient.patient_id for patient in patients}
    assert {row["case"] for row in rows} == {row.case for row in result.rows}
    assert {row["folder or file"] for row in rows} == {f"Doe_{number}" for number in range(5)}
    assert (tmp_path / "who.csv").stat().st_mode & 0o077 == 0


def test_who_is_who_lists_what_belongs_nowhere_and_what_cannot_be_read(tmp_path):
    Patient(**SMALL).write(tmp_path / "in")
    save_all([Patient(patient_id="MRN-7", **SMALL).rtdose()], tmp_path / "in" / "lone")
    (tmp_path / "in" / "damaged").write_bytes(b"\0" * 128 + b"DICM")
    result = run(tmp_path / "in", tmp_path / "out", identities=tmp_path / "who.csv")
    assert result.unreadable == 1
    assert ("RTDOSE", "left out") in {(row.what, row.status) for row in result.rows}
    rows = {row["what"]: row for row in csv.DictReader((tmp_path / "who.csv").open())}
    assert rows["RTDOSE"]["PatientID"] == "MRN-7"
    assert rows["RTDOSE"]["folder or file"] == "lone/sub0/0000"
    assert "neither its plan nor a CT" in rows["RTDOSE"]["reason"]
    assert rows["file"]["folder or file"] == "damaged"


def test_who_is_who_does_not_lie_among_what_is_given_away(cohort, tmp_path):
    with pytest.raises(ConfigError, match="among the prepared data"):
        run(cohort[0], tmp_path / "out", identities=tmp_path / "out" / "who.csv")


def test_a_second_run_reads_no_patient_again(cohort, prepared, monkeypatch):
    out, before = prepared
    times = {path: path.stat().st_mtime_ns for path in (out / "cases").iterdir()}
    monkeypatch.setattr("ctan_monai.data.dicom.read.job.read_patient", lambda *_, **__: pytest.fail("was read again"))
    again = run(cohort[0], out)
    assert again.rows == before.rows
    assert {path: path.stat().st_mtime_ns for path in (out / "cases").iterdir()} == times


@pytest.mark.promise(4, "patients keep their split when others are added")
def test_patients_keep_their_split_when_others_are_added_and_the_log_says_what_changed(tmp_path, caplog):
    for number in range(4):
        Patient(patient_id=f"MRN-{number}", **SMALL).write(tmp_path / "in" / str(number))
    first = {row.case: row.split for row in run(tmp_path / "in", tmp_path / "out").accepted}
    for number in range(4, 9):
        Patient(patient_id=f"MRN-{number}", **SMALL).write(tmp_path / "in" / str(number))
    shutil.rmtree(tmp_path / "in" / "1")
    caplog.clear()
    with caplog.at_level(logging.INFO):
        second = {row.case: row.split for row in run(tmp_path / "in", tmp_path / "out").accepted}
    assert len(second) == 8
    kept = first.keys() & second.keys()
    assert {case: second[case] for case in kept} == {case: first[case] for case in kept}
    counts = Counter(second[case] for case in second.keys() - first.keys())
    listed = ", ".join(f"{counts[split]} {split}" for split in ("train", "validation", "test") if counts[split])
    assert f"patients added: {listed}; the other 3 keep their split" in caplog.text
    assert "1 patients that were there before are not any more" in caplog.text


def test_what_changed_is_prepared_again(cohort, tmp_path):
    folder, out = cohort[0], tmp_path / "out"
    first = run(folder, out)
    damaged, other = (out / next(iter(row.files)) for row in first.accepted[:2])
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"\0")
    stamp = other.stat().st_mtime_ns
    second = run(folder, out)
    assert [row.files for row in second.rows] == [row.files for row in first.rows]  # the same bytes again
    assert other.stat().st_mtime_ns == stamp
    third = run(folder, out, options=DicomOptions(structures=("Bladder",)))
    assert all(list(row.facts["structures"]) == ["Bladder"] for row in third.accepted)


@pytest.mark.promise(8, "several processes prepare the same bytes as one")
def test_several_processes_give_the_same_bytes(cohort, prepared, tmp_path):
    key = prepared[0] / ".pseudonym.key"
    parallel = prepare_dicom(cohort[0], tmp_path / "out", workers=2, key_file=key, progress=False)
    assert parallel.rows == prepared[1].rows
    assert not (tmp_path / "out" / ".pseudonym.key").exists()


def test_other_pseudonyms_change_neither_splits_nor_order(cohort, prepared, tmp_path):
    other = run(cohort[0], tmp_path / "out")
    assert {row.case for row in other.rows}.isdisjoint(row.case for row in prepared[1].rows)
    assert [row.split for row in other.rows] == [row.split for row in prepared[1].rows]


KILLED = """
import sys
from ctan_monai.data.datasets.dicom_rt.prepare import prepare_dicom
prepare_dicom(sys.argv[1], sys.argv[2], workers=2, key_file=sys.argv[3], progress=False)
"""


def _group(leader):
    """Return the processes that are left of a process group, as Linux lists them."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            state, _, group = path.read_text().rpartition(")")[2].split()[:3]
            if int(group) == leader and state != "Z":
                found.append(path.parent.name)
    return found


@pytest.mark.promise(5, "a preparation that was killed goes on without loss")
@pytest.mark.faults
def test_a_killed_run_goes_on_without_loss(tmp_path):
    for number in range(8):
        Patient(patient_id=f"MRN-{number}", rows=96, columns=110, slices=20).write(tmp_path / "in" / str(number))
    out, key = tmp_path / "out", tmp_path / "key"
    process = subprocess.Popen([sys.executable, "-c", KILLED, tmp_path / "in", out, key], start_new_session=True)
    deadline = time.monotonic() + 60
    while len(list((out / "cases").glob("pt_*.case"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()  # the processes that it started have to notice by themselves
    process.wait()
    while _group(process.pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _group(process.pid)
    done = {path.name: path.stat().st_mtime_ns for path in (out / "cases").glob("pt_*.case")}
    assert len(done) >= 2
    assert not (out / "datalist.json").exists()
    (out / "cases" / ".pt_0_0.case.abcd.case").write_bytes(b"half")

    resumed = prepare_dicom(tmp_path / "in", out, workers=2, key_file=key, progress=False)
    whole = prepare_dicom(tmp_path / "in", tmp_path / "whole", workers=2, key_file=key, progress=False)
    assert resumed.rows == whole.rows
    assert len(resumed.accepted) == 8
    assert all((out / "cases" / name).stat().st_mtime_ns == stamp for name, stamp in done.items())
    assert not list((out / "cases").glob(".*"))
    assert (out / "datalist.json").read_bytes() == (tmp_path / "whole" / "datalist.json").read_bytes()
    assert verify_prepared(out, progress=False) == (8, [])


def _hold(folder, ready, done):
    from ctan_monai.data.datasets.dicom_rt.prepared_folder import locked

    with locked(Path(folder)):
        ready.set()
        done.wait(20)


def test_two_runs_do_not_share_a_folder(cohort, tmp_path):
    pytest.importorskip("fcntl")
    context = multiprocessing.get_context()
    ready, done = context.Event(), context.Event()
    holder = context.Process(target=_hold, args=(tmp_path / "out", ready, done))
    holder.start()
    assert ready.wait(20)
    with pytest.raises(DataError, match="another run is preparing this folder"):
        run(cohort[0], tmp_path / "out")
    done.set()
    holder.join()


def test_a_folder_in_which_nothing_is_usable_is_refused_with_the_reasons(tmp_path):
    Patient(**SMALL).write(tmp_path / "in", rtdose=None)
    with pytest.raises(
        DataError, match=r"no case was accepted of 8 CT, 1 RTPLAN, 1 RTSTRUCT\. 1 x CT: no dose belongs"
    ):
        run(tmp_path / "in", tmp_path / "out")
    assert (tmp_path / "out" / "table.csv").exists()


@pytest.mark.promise(3, "one odd patient does not stop the others, and the table says why")
def test_one_odd_patient_does_not_stop_the_others(cohort, tmp_path, monkeypatch):
    from ctan_monai.data.dicom.read import job

    real, seen = job.read_patient, []

    def fails_once(study, *arguments, **options):
        seen.append(study)
        if len(seen) == 2:
            raise RuntimeError("Doe^MRN")  # as a library might quote it
        return real(study, *arguments, **options)

    monkeypatch.setattr(job, "read_patient", fails_once)
    rows = run(cohort[0], tmp_path / "out").rows
    assert sorted(row.status for row in rows) == ["accepted"] * 3 + ["rejected"] * 2
    assert "an unexpected RuntimeError occurred." in [row.reason for row in rows]


def test_a_full_disk_stops_the_run_with_one_error(cohort, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ctan_monai.files.atomic.secrets.token_hex", full)
    with pytest.raises(DataError, match="No space left on device"):
        run(cohort[0], tmp_path / "out")


def test_mixed_prescriptions_are_reported(tmp_path, caplog):
    for number, gy in enumerate((60.0, 78.0, 60.0)):
        Patient(patient_id=str(number), prescription_gy=gy, **SMALL).write(tmp_path / "in" / str(number))
    run(tmp_path / "in", tmp_path / "out")
    assert json.loads((tmp_path / "out" / "datalist.json").read_text())["prescriptions_gy"] == {"60": 2, "78": 1}
    assert "mixed prescriptions: 2 x 60 Gy, 1 x 78 Gy" in caplog.text


def test_synthetic_patients_are_called_so(tmp_path, caplog):
    patient = Patient(**SMALL)
    images = patient.ct()
    for image in images:
        image.SyntheticData = "YES"
    patient.write(tmp_path / "in", ct=images)
    result = run(tmp_path / "in", tmp_path / "out")
    assert result.accepted[0].facts["synthetic"] is True
    assert json.loads((tmp_path / "out" / "datalist.json").read_text())["synthetic"] is True
    assert "the data are SYNTHETIC: no patient was imaged" in caplog.text


# ---- verify


def test_a_prepared_folder_is_whole(prepared):
    assert verify_prepared(prepared[0], progress=False) == (4, [])


@pytest.mark.promise(3, "whatever was changed in a prepared folder is found by verify")
def test_whatever_was_changed_is_found(cohort, tmp_path):
    out = tmp_path / "out"
    result = run(cohort[0], out)
    one, other, third = (next(iter(row.files)) for row in result.accepted[:3])
    (out / one).unlink()
    flipped = bytearray((out / other).read_bytes())
    flipped[len(flipped) // 2] ^= 1
    (out / other).write_bytes(flipped)
    (out / third).with_name("pt_zz_1.case").write_bytes((out / third).read_bytes())
    content = json.loads((out / "datalist.json").read_text())
    content["test"].append(content["train"][0])
    (out / "datalist.json").write_text(json.dumps(content))
    _, problems = verify_prepared(out, progress=False)
    assert f"{one} is missing" in problems
    assert f"{other} has changed since it was written" in problems
    assert "cases/pt_zz_1.case belongs to no patient of the last run" in problems
    assert "datalist.json has changed since it was written" in problems
    assert any("is in ['test', 'train']" in problem for problem in problems)


def test_a_folder_that_was_not_prepared_to_its_end_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"manifest\.json cannot be read"):
        verify_prepared(tmp_path, progress=False)


def test_unknown_arguments_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="format"):
        run(tmp_path, tmp_path / "out", kind="zip")
    with pytest.raises(ConfigError, match="patient_by"):
        run(tmp_path, tmp_path / "out", patient_by="name")
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        run(tmp_path, tmp_path / "file" / "out")


def test_files_of_a_test_are_what_they_should_be(tmp_path):
    """The helper itself: what is saved is read back by pydicom."""
    (path,) = save_all([Patient(**SMALL).rtdose()], tmp_path)
    assert dcmread(path).Modality == "RTDOSE"
