from __future__ import annotations

import contextlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tabular_data import volume_layout, write_json

from ctan_monai.data.datasets.tabular.rows import read_rows
from ctan_monai.data.lists.table import read_table
from ctan_monai.errors import DataError

COLUMN = st.sampled_from(["case", "group", "split", "fold", "image", "tumour", "core", "grade", "dose", "age", "x"])
LINES = ["case,image,grade", "p1,p1.nii,low", "p2,p2.nii,"]
CELLS = [{"case": "p1", "image": "p1.nii", "grade": "low"}, {"case": "p2", "image": "p2.nii", "grade": ""}]


def table(folder, content, name="cases.csv"):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=["Linux", "Windows", "old Mac"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["plain", "with a byte order mark"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_tables_of_all_systems_are_the_same(tmp_path, end, mark, separator):
    text = end.join(LINES).replace(",", separator).encode()
    found = read_table(table(tmp_path, mark + text))
    assert found.columns == ("case", "image", "grade")
    assert [dict(entry.cells) for entry in found.entries] == CELLS
    assert [entry.where for entry in found.entries] == ["line 2", "line 3"]


def test_empty_lines_and_empty_columns_at_the_right_are_what_spreadsheets_leave(tmp_path):
    found = read_table(table(tmp_path, "case,image,,\n\np1,p1.nii,,\n,,,\n"))
    assert found.columns == ("case", "image")
    assert [(entry.where, entry.cells["case"]) for entry in found.entries] == [("line 3", "p1")]


def test_quoted_cells_may_hold_separators(tmp_path):
    (entry,) = read_table(table(tmp_path, 'case,image\np1,"a, b.nii"\n')).entries
    assert entry.cells["image"] == "a, b.nii"


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ('[{"image": "a.nii", "grade": "low", "grade": "high"}]', "'grade' stands there twice"),
        ('{"training": [{"image": "a.nii"}], "training": [{"image": "b.nii"}]}', "'training' stands there twice"),
    ],
)
def test_json_that_names_something_twice_is_refused(tmp_path, content, what):
    with pytest.raises(DataError, match=what):
        read_table(table(tmp_path, content, "cases.json"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it is empty"),
        (b"\xef\xbb\xbf\r\n\r\n", "it is empty"),
        (b"case,image\n", "it lists no case"),
        (b"case,image\np1\n", "line 2 has 1 cells, the header 2"),
        (b"case,image\np1,p1.nii\np2,p2.nii,left\n", "line 3 has 3 cells, the header 2"),
        (b"case,case\np1,p2\n", "'case'"),
        (b"case,,image\np1,,p1.nii\n", "without a name"),
        ("case,image\np\xe4,p1.nii\n".encode("latin-1"), "it is not UTF-8"),
        ("case,image\np1,p1.nii\n".encode("utf-16"), "it is not UTF-8"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused_with_the_line(tmp_path, content, message):
    with pytest.raises(DataError, match=message) as caught:
        read_table(table(tmp_path, content))
    assert "\n" not in str(caught.value)


def test_monais_lists_say_the_split(tmp_path):
    content = {
        "description": "of the Decathlon's kind",
        "labels": {"0": "background"},
        "training": [{"image": "a.nii", "label": "b.nii"}],
        "validation": [{"image": "c.nii", "fold": 1}],
        "test": ["d.nii"],
    }
    found = read_table(write_json(tmp_path / "dataset.json", content))
    assert [dict(entry.cells) for entry in found.entries] == [
        {"image": "a.nii", "label": "b.nii", "split": "train"},
        {"image": "c.nii", "fold": 1, "split": "validation"},
        {"image": "d.nii", "split": "test"},
    ]
    assert [entry.where for entry in found.entries] == ["training[0]", "validation[0]", "test[0]"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "it is no JSON"),
        ("[" * 100_000, "it is no JSON"),
        ("3", "it holds a int"),
        ("{}", "it lists no case"),
        ('{"trainning": [{"image": "a.nii"}]}', "the section 'trainning' is unknown"),
        ('{"training": {"image": "a.nii"}}', "training is no list"),
        ('{"training": [3]}', r"training\[0\] is no dictionary"),
        ('{"training": [{"image": "a.nii", "split": "test"}]}', r"training\[0\] says that its split is 'test'"),
    ],
)
def test_json_that_is_no_table_is_refused(tmp_path, content, message):
    with pytest.raises(DataError, match=message):
        read_table(table(tmp_path, content, "cases.json"))


def test_another_kind_of_file_and_a_missing_one_are_refused(tmp_path):
    with pytest.raises(DataError, match="a table of cases ends in"):
        read_table(table(tmp_path, b"PK", "cases.xlsx"))
    with pytest.raises(DataError, match="it cannot be read"):
        read_table(tmp_path / "none.csv")


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(COLUMN, inner, max_size=6),
    max_leaves=12,
)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=60) | st.text(alphabet="case,image;\t\n\r\"'p1\0\ufeff", max_size=60).map(str.encode))
def test_whatever_lies_in_a_csv_is_a_table_or_a_data_error(tmp_path, content):
    try_to_read(table(tmp_path, content))


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=JSON)
def test_whatever_lies_in_json_is_a_table_or_a_data_error(tmp_path, content):
    try_to_read(write_json(tmp_path / "cases.json", {"training": [content]}))
    try_to_read(write_json(tmp_path / "cases.json", content))


def try_to_read(path):
    with contextlib.suppress(DataError):
        read_rows(path, None, volume_layout())
