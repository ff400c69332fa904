"""Pseudonyms tell nothing, and stay."""

import stat

import pytest
from dicom_phantoms import Patient

from ctan_monai.data.cases.case import check_case_id
from ctan_monai.data.datasets.dicom_rt.prepare import prepare_dicom
from ctan_monai.data.dicom.read.pseudonyms import Pseudonyms, read_or_make_key
from ctan_monai.errors import DataError


def test_a_pseudonym_depends_on_the_key_and_can_be_a_case_id():
    one, other = Pseudonyms(b"a" * 32), Pseudonyms(b"b" * 32)
    assert one.patient("MRN1") == Pseudonyms(b"a" * 32).patient("MRN1")
    assert len({one.patient("MRN1"), other.patient("MRN1"), one.patient("MRN2")}) == 3
    case = one.case(one.patient("MRN1"), "1.2.3")
    assert check_case_id(case).startswith(one.patient("MRN1"))
    assert "MRN1" not in case


def test_a_key_is_made_once_and_only_its_owner_may_read_it(tmp_path):
    path = tmp_path / "keys" / "k"
    key = read_or_make_key(path)
    assert read_or_make_key(path) == key
    assert len(key) == 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read_or_make_key(tmp_path / "other") != key


@pytest.mark.parametrize("text", ["no key", "abcd", ""])
def test_a_file_that_holds_no_key_is_refused_and_kept(tmp_path, text):
    path = tmp_path / "k"
    path.write_text(text)
    with pytest.raises(DataError, match="key"):
        read_or_make_key(path)
    assert path.read_text() == text


def test_preparing_a_folder_that_holds_a_key_makes_another_and_copies_none(tmp_path):
    patient = Patient(patient_id="MRN-1", rows=24, columns=30, slices=8, spacing_mm=6.0, pixel_mm=(4.0, 4.2))
    patient.write(tmp_path / "export" / "Doe", seed=1)
    (tmp_path / "export" / ".pseudonym.key").write_text("ab" * 32)
    out = tmp_path / "out"
    prepare_dicom(tmp_path / "export", out, workers=1, progress=False)
    (key,) = [path for path in out.rglob("*") if path.suffix == ".key"]
    assert key == out / ".pseudonym.key"  # as README says
    assert key.read_text().strip() != "ab" * 32
    others = [path for path in out.rglob("*") if path.is_file() and path != key]
    assert len(others) > 3
    assert not [path for path in others if key.read_bytes().strip() in path.read_bytes()]
