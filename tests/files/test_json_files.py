"""A file is either the old one or the new one, whatever goes wrong between."""

import json
import os

import numpy as np
import pytest
import torch

from ctan_monai.errors import CheckpointError
from ctan_monai.files.atomic import add_name, remove_leftovers, replacing
from ctan_monai.files.json_files import read_json, write_json, write_text


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")
    return path


def test_new_content_takes_the_old_ones_place_and_nothing_else_stays(file):
    write_text("néw", file)
    assert file.read_text(encoding="utf-8") == "néw"
    assert os.listdir(file.parent) == ["file.txt"]


def test_the_folder_is_made(tmp_path):
    write_text("x", tmp_path / "a" / "b" / "file.txt")
    assert (tmp_path / "a" / "b" / "file.txt").read_text() == "x"


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_interrupted_write_leaves_the_old_file_alone(file, error):
    def write_half():
        with replacing(file) as temporary:
            temporary.write_bytes(b"half of the ne")
            raise error

    with pytest.raises(error):
        write_half()
    assert file.read_text() == "old"
    assert os.listdir(file.parent) == ["file.txt"]


@pytest.mark.promise(2, "a failing sync or rename is never taken for a success")
@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_disk_that_fails_is_never_taken_for_a_success(file, monkeypatch, call):
    def fail(*arguments):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(CheckpointError, match=r"file\.txt: it could not be written \(Input/output error\)"):
        write_text("new", file)
    assert file.read_text() == "old"
    assert os.listdir(file.parent) == ["file.txt"]


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "no_folder").write_text("a file")
    with pytest.raises(CheckpointError, match=r"no_folder/file\.txt: it could not be written .*--output_dir"):
        write_text("new", tmp_path / "no_folder" / "file.txt")


def test_the_replaced_file_can_stay_under_another_name(file):
    for content in ("second", "third"):
        with replacing(file, previous=file.with_name("previous.txt")) as temporary:
            temporary.write_bytes(content.encode())
    assert file.read_text() == "third"
    assert file.with_name("previous.txt").read_text() == "second"
    assert sorted(os.listdir(file.parent)) == ["file.txt", "previous.txt"]


def test_without_hard_links_the_file_is_renamed(file, monkeypatch):
    def refuse(*arguments):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    add_name(file, file.with_name("previous.txt"))
    assert os.listdir(file.parent) == ["previous.txt"]


def test_files_have_the_rights_that_the_user_gives_to_new_files(file):
    before = os.umask(0o027)
    try:
        write_text("new", file)
    finally:
        os.umask(before)
    assert file.stat().st_mode & 0o777 == 0o640


def test_json_holds_null_for_what_json_does_not_know(tmp_path):
    value = {"dice": np.float32(0.5), "nan": float("nan"), "inf": torch.tensor(float("inf")), 3: (1, True, None)}
    write_json(value, tmp_path / "file.json")
    found = json.loads((tmp_path / "file.json").read_text())
    assert found == {"dice": 0.5, "nan": None, "inf": None, "3": [1, True, None]}


def test_what_a_killed_process_left_is_removed_and_nothing_else(tmp_path):
    for name in (".last.pt.part-0123abcd.pt", "last.pt", ".lock", "notes.part"):
        (tmp_path / name).write_text("x")
    remove_leftovers(tmp_path)
    assert sorted(os.listdir(tmp_path)) == [".lock", "last.pt", "notes.part"]


@pytest.mark.parametrize("content", [None, b"", b"{", b"[1]", b"null", b"\xff\xfe"])
def test_what_is_no_object_is_none_and_what_was_written_comes_back(tmp_path, content):
    path = tmp_path / "a.json"
    if content is not None:
        path.write_bytes(content)
    assert read_json(path) is None
    write_json({"loss": float("nan"), "epochs": [1, 2]}, path)
    assert read_json(path) == {"loss": None, "epochs": [1, 2]}
