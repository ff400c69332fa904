"""What a request may name."""

import tempfile
from pathlib import Path

import pytest

from ctan_monai.errors import DataError
from ctan_monai.serve.names import check_id, check_name, is_received


@pytest.mark.parametrize("name", ["a", "pt_7", "1.2.840.10008", "A-b_c.d", "x" * 64])
def test_plain_names_pass(name):
    assert check_name(name, "image") == name


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../a", "/etc/passwd", "a/b", "a\\b", "a\0", "a b", "x" * 65, "é", None]
)
def test_others_are_refused_with_what_is_expected(name):
    with pytest.raises(DataError, match="1 to 64 of A-Z"):
        check_name(name, "image")


@pytest.mark.parametrize("name", ["2: CT Pelvis 3mm", "Müller", "a.b", "x" * 200, "患者 1", "50%", "-rf", "a*?"])
def test_an_id_is_whatever_a_viewer_calls_a_volume(name):
    assert check_id(name, "image") == name


@pytest.mark.parametrize("name", ["", "..", " ", ". .", "a/b", "a\\b", "a\0", "a\nb", "x" * 201, "\u202ea", None, 7])
def test_but_no_path_and_nothing_that_cannot_be_seen(name):
    with pytest.raises(DataError, match="1 to 200 characters"):
        check_id(name, "image")


def test_only_files_that_the_server_received_itself_may_be_named_by_path(tmp_path):
    received = Path(tempfile.gettempdir()).resolve()
    assert is_received(str(received / "tmpab12_xyz.nii.gz"))
    assert not is_received(str(received / "report.nii.gz"))
    assert not is_received(str(received / "tmpab12_xyz.nii.gz" / ".." / ".." / "etc" / "passwd"))
    assert not is_received("tmpab12_xyz.nii.gz")
    assert not is_received("/etc/passwd\0.nii.gz")


def test_nor_does_a_session_lead_out_of_its_folder(tmp_path):
    inside, outside = tmp_path / "sessions", tmp_path / "other.nii.gz"
    inside.mkdir()
    outside.touch()
    (inside / "link.nii.gz").symlink_to(outside)
    assert is_received(str(inside / "5" / "ct.nii.gz"), inside)
    assert not is_received(str(inside / ".." / "other.nii.gz"), inside)
    assert not is_received(str(inside / "link.nii.gz"), inside)
