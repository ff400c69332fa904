from __future__ import annotations

import os

import pytest

from ctan_monai.errors import DataError
from ctan_monai.files.atomic import replacing


def test_an_error_while_writing_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("old")

    def fail():
        with replacing(path) as temporary:
            temporary.write_text("half of the n")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.csv"]


def test_missing_folders_are_made_and_the_ending_stays(tmp_path):
    path = tmp_path / "b" / "c" / "a.nii.gz"
    with replacing(path) as temporary:
        assert temporary.parent == path.parent
        assert temporary.name.endswith(".nii.gz")
        temporary.write_text("new")
    assert path.read_text() == "new"
    assert os.listdir(path.parent) == ["a.nii.gz"]


def test_others_may_read_what_the_umask_lets_them(tmp_path):
    old = os.umask(0o027)
    try:
        with replacing(tmp_path / "a") as temporary:
            temporary.write_text("new")
        assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640
        assert os.umask(0o027) == 0o027
    finally:
        os.umask(old)


def test_a_folder_that_cannot_be_made_is_a_data_error(tmp_path):
    (tmp_path / "file").write_text("")

    def write():
        with replacing(tmp_path / "file" / "a.csv") as temporary:
            temporary.write_text("")

    with pytest.raises(DataError, match=r"a\.csv: it cannot be written"):
        write()
