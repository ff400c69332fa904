from __future__ import annotations

import os

import numpy as np
import pydicom
import pytest
from dicom_validity import errors_of

from ctan_monai.data.dicom.write import CtReference, SeededUids, new_uid, predicted_by, write_rtdose, write_seg
from ctan_monai.data.dicom.write.common import decimal, save_new
from ctan_monai.data.dicom.write.reference import shortened
from ctan_monai.errors import DataError


@pytest.fixture
def made(reference, origin, fixed, tmp_path_factory):
    path = tmp_path_factory.mktemp("dose") / "a.dcm"
    dose = write_rtdose(np.ones((2, 2, 2)), reference.affine_ras, reference, path, origin, plan_uid="1.2", **fixed)
    return pydicom.dcmread(dose.path)


def test_seeded_uids_repeat_and_all_uids_are_valid_and_different():
    first, second, other = SeededUids(1, "a"), SeededUids(1, "a"), SeededUids(2, "a")
    series = [first() for _ in range(50)]
    assert series == [second() for _ in range(50)]
    known = {*series, other(), new_uid(), new_uid()}
    assert len(known) == 53
    assert all(pydicom.uid.UID(uid).is_valid and uid.startswith("2.25.") for uid in known)


@pytest.mark.parametrize("value", [1 / 3, -1 / 3, 1e-9 / 7, 123456.789012345, 0.0, -1e-300, 3.0])
def test_numbers_fit_into_sixteen_characters_with_ten_digits(value):
    assert len(decimal(value)) <= 16
    assert float(decimal(value)) == pytest.approx(value, rel=1e-8)


def test_long_texts_are_cut_and_backslashes_do_not_split_them():
    assert shortened("a\\b  c", 64) == "a/b c"
    assert shortened("x" * 80, 16) == "x" * 13 + "..."
    assert len(predicted_by("m").statement) <= 64


def test_a_second_writer_cannot_take_the_name(made, tmp_path, monkeypatch):
    path = tmp_path / "new" / "d.dcm"

    def taken_meanwhile(source, target):
        path.write_text("theirs")
        return real(source, target)

    real = os.link
    monkeypatch.setattr(os, "link", taken_meanwhile)
    with pytest.raises(DataError, match="exists"):
        save_new(made, path)
    assert path.read_text() == "theirs"
    assert os.listdir(path.parent) == ["d.dcm"]


def test_a_disk_without_hard_links_will_do(made, tmp_path, monkeypatch):
    def refuse(source, target):
        raise PermissionError("no links here")

    monkeypatch.setattr(os, "link", refuse)
    save_new(made, tmp_path / "d.dcm")
    assert pydicom.dcmread(tmp_path / "d.dcm").SOPInstanceUID == made.SOPInstanceUID

    def taken_meanwhile(source, target):
        target.write_text("theirs")
        raise PermissionError("no links here")

    monkeypatch.setattr(os, "link", taken_meanwhile)
    with pytest.raises(DataError, match="exists"):
        save_new(made, tmp_path / "e.dcm")
    assert (tmp_path / "e.dcm").read_text() == "theirs"
    assert sorted(os.listdir(tmp_path)) == ["d.dcm", "e.dcm"]


def test_a_folder_that_is_a_file_is_said(made, tmp_path):
    (tmp_path / "a").write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        save_new(made, tmp_path / "a" / "d.dcm")


@pytest.fixture
def synthetic(write_ct):
    headers = CtReference.read(write_ct()).headers
    for header in headers:
        header.add_new(0x0008001C, "CS", "YES")
    return CtReference.from_headers(headers)


def test_an_object_made_for_a_synthetic_ct_is_synthetic_too(synthetic, origin, tmp_path):
    write_rtdose(np.ones((2, 2, 2)), synthetic.affine_ras, synthetic, tmp_path / "d", origin, plan_uid="1.2")
    assert pydicom.dcmread(tmp_path / "d")[0x0008001C].value in ("YES", b"YES ")


def test_a_seg_made_for_a_synthetic_ct_is_synthetic_too(synthetic, origin, tmp_path, masks):
    pytest.importorskip("highdicom", reason="the extra ctan-monai[dicom] is not installed")
    write_seg(masks, synthetic.affine_ras, synthetic, tmp_path / "s", origin)
    assert pydicom.dcmread(tmp_path / "s")[0x0008001C].value == "YES"


def test_what_the_ct_does_not_say_of_the_patient_is_there_but_empty(write_ct, origin, tmp_path):
    reference = CtReference.read(write_ct(PatientBirthDate=None, StudyID=None))
    write_rtdose(np.ones((2, 2, 2)), reference.affine_ras, reference, tmp_path / "d", origin, plan_uid="1.2")
    made = pydicom.dcmread(tmp_path / "d")
    assert (made.PatientBirthDate, made.StudyID) == ("", "")
    assert errors_of(tmp_path / "d") == []
