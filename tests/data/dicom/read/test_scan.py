"""A folder is searched whatever lies in it."""

import os
from collections import Counter

import pytest
from dicom_phantoms import Patient, save_all
from pydicom import dcmread

from ctan_monai.data.dicom.read.header import read_header
from ctan_monai.data.dicom.read.scan import scan
from ctan_monai.errors import DataError

SMALL = {"rows": 8, "columns": 9, "slices": 4}


def test_objects_are_found_under_any_name_and_between_anything(tmp_path):
    patient = Patient(**SMALL)
    paths = patient.write(tmp_path / "a" / "b")
    (tmp_path / "a" / "notes.txt").write_text("DICM")
    (tmp_path / "a" / "b" / "thumbs.db").write_bytes(b"\x08\x00" * 70)
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "damaged").write_bytes(paths[0].read_bytes()[:200])
    os.symlink(tmp_path / "a", tmp_path / "a" / "b" / "loop")
    found = scan(tmp_path, progress=False)
    assert found.counts() == {"CT": 4, "RTDOSE": 1, "RTPLAN": 1, "RTSTRUCT": 1}
    assert found.others == 3
    ((path, reason),) = found.unreadable
    assert path.name == "damaged"
    assert reason == "it begins like DICOM, but has no SOPClassUID and no SOPInstanceUID; it may be cut short"


def test_several_processes_find_the_same(tmp_path, monkeypatch):
    Patient(**SMALL).write(tmp_path)
    monkeypatch.setattr("ctan_monai.data.dicom.read.scan._PARALLEL_FROM", 1)
    assert scan(tmp_path, workers=2, progress=False) == scan(tmp_path, progress=False)


def test_a_data_set_without_preamble_is_dicom_too(tmp_path):
    """As some old systems write them: no 'DICM', no meta header."""
    (path,) = save_all(Patient(**SMALL).ct()[:1], tmp_path)
    whole = path.read_bytes()
    dataset = dcmread(path)
    start = whole.index(b"\x08\x00\x16\x00UI")  # the first element after the meta header is ImageType or the class
    start = min(start, whole.index(b"\x08\x00\x08\x00CS"))
    implicit = tmp_path / "bare"
    implicit.write_bytes(whole[start:])
    header = read_header(implicit)
    assert header is not None
    assert (header.kind, header.sop_uid) == ("CT", dataset.SOPInstanceUID)


def test_headers_tell_what_objects_refer_to(tmp_path):
    patient = Patient(**SMALL)
    patient.write(tmp_path)
    by_kind = {header.kind: header for header in scan(tmp_path, progress=False).objects}
    structure_set, plan, dose = by_kind["RTSTRUCT"], by_kind["RTPLAN"], by_kind["RTDOSE"]
    assert structure_set.images == {patient.series_uid: frozenset(patient.ct_uids)}
    assert structure_set.frames == {patient.frame_uid}
    assert structure_set.date == "20240101120000"
    assert plan.structure_sets == (patient.struct_uid,)
    assert dose.plans == (patient.plan_uid,)
    assert dose.summation == "PLAN"
    assert by_kind["CT"].patient_id == "MRN-0042"
    assert not by_kind["CT"].synthetic


def test_what_is_no_slice_is_told_apart(tmp_path):
    images = Patient(**SMALL).ct()
    images[0].ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    images[1].SOPClassUID = "1.2.840.10008.5.1.4.1.1.7"  # a screenshot: secondary capture
    images[2].SOPClassUID = "1.2.840.10008.5.1.4.1.1.2.1"
    images[3].SOPClassUID, images[3].Modality = "1.2.840.10008.5.1.4.1.1.4", "MR"
    save_all(images, tmp_path)
    found = scan(tmp_path, progress=False)
    assert found.counts() == {"CT": 1, "ct that is no slice": 1, "enhanced ct": 1, "mr": 1}
    assert found.of("CT")[0].localizer


def test_synthetic_data_say_so(tmp_path):
    images = Patient(**SMALL).ct()
    for image in images:
        image.SyntheticData = "YES"
    save_all(images, tmp_path)
    assert Counter(header.synthetic for header in scan(tmp_path, progress=False).objects) == {True: 4}


def test_a_folder_without_dicom_and_no_folder_are_refused(tmp_path):
    with pytest.raises(DataError, match="there is no such folder"):
        scan(tmp_path / "x", progress=False)
    (tmp_path / "a.txt").write_text("a")
    with pytest.raises(DataError, match="none of its 1 files is a readable DICOM object"):
        scan(tmp_path, progress=False)
