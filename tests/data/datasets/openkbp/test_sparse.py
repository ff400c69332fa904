"""Numbers of OpenKBP's files are read as Python reads them, however they are written."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctan_monai.data.datasets.openkbp.sparse import read_entries, read_index
from ctan_monai.errors import DataError

WRITTEN = st.one_of(
    st.floats(0, 200).map(repr),  # up to 17 digits, some with exponents
    st.floats(0, 100, width=32).map(lambda value: str(np.float32(value))),
    st.decimals(0, 10**6, places=3).map(str),
    st.integers(0, 10**18).map(str),
    st.sampled_from(["5.", ".5", "007.50", "1e-3", "+1", "-2.5", " 3", "0.1234567890123456789", "9007199254740993"]),
)


@given(st.lists(WRITTEN, min_size=1, max_size=20), st.integers(1, 10**6))
def test_a_dose_is_read_to_the_last_bit_as_python_reads_it(tmp_path_factory, texts, first):
    path = tmp_path_factory.mktemp("sparse", numbered=True) / "dose.csv"
    path.write_text(",data\n" + "".join(f"{first + at},{text}\n" for at, text in enumerate(texts)))
    index, values = read_entries(path)
    assert index.tolist() == list(range(first, first + len(texts)))
    assert values.tolist() == [float(text) for text in texts]


@pytest.mark.parametrize("lines", ["3,\n10,\n7,\n", "3,1\n10,\n7,1.0\n", "3.0,\n10,\n7,\n", "3,\r\n10,\r\n7,\r\n"])
def test_a_structure_is_read_with_and_without_values(tmp_path, lines):
    (tmp_path / "PTV70.csv").write_bytes(b",data\n" + lines.encode())
    assert read_index(tmp_path / "PTV70.csv").tolist() == [3, 10, 7]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("1,2.5.5\n", "some entry is no number"),
        ("1,.\n", "some entry is no number"),
        ("1.5,3\n", "an index is no whole number"),
        (",\n2,\n", "some entry is no number"),
        (",5\n2,5\n", "some entry is no number"),
        ("1 2,3\n", "some entry is no number"),
        ("1,2,3\n4,5\n", "some line is not"),
        ("1,2\n3\n", "some line is not"),
        ("99999999999999999999,3\n", "no whole number"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path, lines, message):
    (tmp_path / "dose.csv").write_text(",data\n" + lines)
    with pytest.raises(DataError, match=message):
        read_entries(tmp_path / "dose.csv")


def test_what_is_not_known_is_refused_as_a_dose(tmp_path):
    (tmp_path / "dose.csv").write_text(",data\n1,\n2,\n")
    with pytest.raises(DataError, match="line 2 has the value nan"):
        read_entries(tmp_path / "dose.csv")
    assert read_index(tmp_path / "dose.csv").tolist() == [1, 2]
