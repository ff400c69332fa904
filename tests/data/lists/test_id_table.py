"""Tables of data sets are read with commas or tabs, and refused with line and remedy."""

import pytest

from ctan_monai.data.lists.id_table import read_id_table
from ctan_monai.errors import DataError


def rows(path, text):
    path.write_text(text)
    return list(read_id_table(path, ("id", "age"), "id", "patient", "Ask its owner."))


@pytest.mark.parametrize("separator", [",", "\t"])
def test_each_row_comes_with_its_id_and_line(tmp_path, separator):
    text = "\ufeffid,age,note\np1,30,\n p2 ,,x\n".replace(",", separator)
    assert rows(tmp_path / "a.csv", text) == [
        ("p1", 2, {"id": "p1", "age": "30", "note": ""}),
        ("p2", 3, {"id": "p2", "age": "", "note": "x"}),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,sex\np1,m\n", r"\['age'\] are missing.*Ask its owner"),
        ("", "it is empty"),
        ("id,age\np1,1\np2\np3,3\n", "line 3 has 1 cells, the header 2"),
        ('id,age,note\np1,1,"in doubt\np2,2,\np3,3,\n', "line 2 cannot be read"),
        ("id,age,age\np1,1,2\n", "age"),
        ("id,age\np1,1\np2,2\np1,1\n", "line 4 lists this patient again. Remedy: List each patient once"),
        ("id,age\n../p1,1\n", r"\.\./p1"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused_with_what_to_do(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        rows(tmp_path / "a.csv", text)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(DataError, match=r"none\.csv.*it cannot be read.*Ask its owner"):
        list(read_id_table(tmp_path / "none.csv", ("id",), "id", "patient", "Ask its owner."))
