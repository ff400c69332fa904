"""Ids of images and the names of their files."""

import re

import pytest

from ctan_monai.errors import DataError
from ctan_monai.serve.names import NAMES_FILE, StoredNames

NAMES = ("2: CT Pelvis 3mm", "Müller", "a b", "x" * 200, "CON?", "患者")


@pytest.mark.parametrize("name", NAMES)
def test_a_foreign_id_gets_a_plain_name_that_says_nothing_and_leads_back(tmp_path, name):
    stem = StoredNames(tmp_path).add(name)
    assert re.fullmatch(r"image-[0-9a-f]{12}", stem)
    again = StoredNames(tmp_path)  # another process
    assert (again.stem_of(name), again.id_of(stem)) == (name and stem, name)
    assert again.add(name) == stem


def test_plain_ids_and_files_that_somebody_put_there_keep_their_names(tmp_path):
    names = StoredNames(tmp_path)
    assert names.add("pt_7") == names.stem_of("pt_7") == names.id_of("pt_7") == "pt_7"
    assert names.id_of("a file of mine") == names.stem_of("a file of mine") == "a file of mine"
    assert not (tmp_path / NAMES_FILE).exists()


def test_two_ids_never_share_a_file(tmp_path):
    names = StoredNames(tmp_path)
    stems = {names.add(name) for name in NAMES}
    assert len(stems) == len(NAMES)
    with pytest.raises(DataError, match="taken"):
        names.add(stems.pop())


def test_what_one_process_adds_another_sees(tmp_path):
    first, second = StoredNames(tmp_path), StoredNames(tmp_path)
    stem = first.add("a b")
    assert second.id_of(stem) == "a b"
    assert second.stem_of("a b") == stem


@pytest.mark.parametrize("content", ["{", "[1]", '{"../a": "b"}'])
def test_a_damaged_table_is_not_taken_for_an_empty_one(tmp_path, content):
    (tmp_path / NAMES_FILE).write_text(content)
    with pytest.raises(DataError, match=NAMES_FILE):
        StoredNames(tmp_path)
